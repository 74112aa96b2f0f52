import { percentile, type Sample, samplesBetween } from "../../test/canary/samples.ts";
import { type Figures, rounded } from "../command/report.ts";
import type { MeasuredAttack } from "./measure-attack.ts";

/** Bounds of an attack, on a machine that does nothing else. */
export const BOUNDS = {
  p50Ms: 30,
  p99Ms: 250,
  /** Time after the end of an attack until the p99 bound holds again. */
  recoveryMs: 2_000,
  /** Growth of each server process, from the start of the attack to its end. */
  memoryMib: 64,
  newcomerMs: 2_000,
} as const;

/** Figures of an attack, and those that break a bound. */
export interface AttackFigures {
  readonly figures: Figures;
  /** Names of the figures that break a bound, with a sentence each. */
  readonly broken: ReadonlyMap<string, string>;
}

export function attackFigures(
  measured: MeasuredAttack,
  servers: ReadonlySet<string>,
): AttackFigures {
  const { canary, attacker, memory } = measured;
  const latencies = latencyFigures(measured);
  const arrivals = newcomerFigures(measured);
  const { lost, duplicated, unanswered, errors } = canary;
  const figures: Figures = {
    ...latencies,
    lost,
    duplicated,
    unanswered,
    errors,
    ...arrivals,
    memory_mib: memory,
    server_cpu_s: sumOf(measured.cpu, servers),
    server_cpu_after_s: sumOf(measured.cpuAfter, servers),
    cpu_s: roundedValues(measured.cpu),
    others_cpu_s: rounded(measured.othersCpuS),
    attacker,
    ended_processes: measured.ended,
  };
  return { figures, broken: brokenBounds(measured, figures) };
}

type Series = readonly [name: string, samples: readonly Sample[]];

function seriesOf({ canary }: MeasuredAttack): readonly Series[] {
  return [
    ["acknowledged", canary.acknowledged],
    ["delivered", canary.delivered],
    ["get_user", canary.reads],
  ];
}

/** Latencies before, during and after the attack, ms. The last ones begin when the bound must hold again. */
function latencyFigures(measured: MeasuredAttack): Record<string, number | null> {
  const { beganMs, endedMs } = measured;
  const figures: Record<string, number | null> = {};
  let slowUntilMs = endedMs;
  for (const [name, samples] of seriesOf(measured)) {
    const before = samplesBetween(samples, Number.NEGATIVE_INFINITY, beganMs);
    const during = samplesBetween(samples, beganMs, endedMs);
    const after = samplesBetween(samples, endedMs, Number.POSITIVE_INFINITY);
    const recovered = samplesBetween(after, endedMs + BOUNDS.recoveryMs, Number.POSITIVE_INFINITY);
    figures[`${name}_before_p50_ms`] = rounded(percentile(before, 0.5));
    figures[`${name}_p50_ms`] = rounded(percentile(during, 0.5));
    figures[`${name}_p99_ms`] = rounded(percentile(during, 0.99));
    figures[`${name}_max_ms`] = rounded(percentile(during, 1));
    figures[`${name}_after_p50_ms`] = rounded(percentile(after, 0.5));
    figures[`${name}_after_p99_ms`] = rounded(percentile(after, 0.99));
    figures[`${name}_after_max_ms`] = rounded(percentile(after, 1));
    figures[`${name}_recovered_p99_ms`] = rounded(percentile(recovered, 0.99));
    for (const { atMs, ms } of [...during, ...after])
      if (ms > BOUNDS.p99Ms) slowUntilMs = Math.max(slowUntilMs, atMs + ms);
  }
  /** From the end of the attack until the last slow answer. */
  figures.slow_for_s = rounded((slowUntilMs - endedMs) / 1_000);
  return figures;
}

function newcomerFigures({ newcomers, beganMs, endedMs }: MeasuredAttack): Figures {
  const during = samplesBetween(newcomers.samples, beganMs, endedMs);
  return {
    newcomers: during.length,
    newcomer_p50_ms: rounded(percentile(during, 0.5)),
    newcomer_max_ms: rounded(percentile(during, 1)),
    newcomer_errors: newcomers.errors,
    newcomers_unanswered: newcomers.unanswered,
  };
}

function brokenBounds(measured: MeasuredAttack, figures: Figures): Map<string, string> {
  const broken = new Map<string, string>();
  const check = (name: string, most: number) => {
    const value = figures[name] as number | null;
    if (value === null) broken.set(name, `${name} was not measured`);
    else if (value > most) broken.set(name, `${name} is ${value}, at most ${most} is allowed`);
  };
  for (const [name] of seriesOf(measured)) {
    check(`${name}_p50_ms`, BOUNDS.p50Ms);
    check(`${name}_p99_ms`, BOUNDS.p99Ms);
    check(`${name}_recovered_p99_ms`, BOUNDS.p99Ms);
  }
  for (const name of ["lost", "duplicated", "unanswered", "newcomers_unanswered"]) check(name, 0);
  check("newcomer_max_ms", BOUNDS.newcomerMs);
  const { canary, newcomers, memory, ended } = measured;
  const errors = { ...canary.errors, newcomer: newcomers.errors };
  for (const [who, reasons] of Object.entries(errors)) {
    for (const [reason, count] of Object.entries(reasons))
      broken.set(`${who} errors: ${reason}`, `${count} failed: ${who}: ${reason}`);
  }
  for (const [name, { first, last }] of Object.entries(memory)) {
    const grown = rounded(last - first);
    if (last > first + BOUNDS.memoryMib)
      broken.set(`memory ${name}`, `${name} grew by ${grown} MiB, ${BOUNDS.memoryMib} are allowed`);
  }
  for (const name of ended) broken.set(`ended ${name}`, `the process ${name} ended`);
  return broken;
}

function sumOf(cpu: ReadonlyMap<string, number>, servers: ReadonlySet<string>): number | null {
  return rounded([...servers].reduce((sum, name) => sum + (cpu.get(name) ?? 0), 0));
}

function roundedValues(cpu: ReadonlyMap<string, number>): Record<string, number | null> {
  return Object.fromEntries([...cpu].map(([name, seconds]) => [name, rounded(seconds)]));
}
