import { type Figures, rounded } from "../command/report.ts";
import { type CpuSeconds, cpuBetween } from "../machine/cpu.ts";
import type { Histogram } from "../statistics/histogram.ts";
import { type Outcome, totalsOf } from "./faults.ts";

const msOf = (histogram: Histogram, share: number) =>
  rounded(histogram.percentile(share) / 1_000, 2);

export function latencyFigures(latencies: Histogram): Figures {
  return {
    p50_ms: msOf(latencies, 0.5),
    p90_ms: msOf(latencies, 0.9),
    p99_ms: msOf(latencies, 0.99),
    max_ms: msOf(latencies, 1),
  };
}

/** How closely the generators kept their rate. */
export function latenessFigures(lateness: Histogram, elapsedS: number): Figures {
  return {
    offered_per_s: rounded(lateness.count / elapsedS, 0),
    sent_late_p50_ms: msOf(lateness, 0.5),
    sent_late_p99_ms: msOf(lateness, 0.99),
  };
}

export function countFigures(outcome: Outcome): Figures {
  const { counts } = outcome;
  const { lost, unanswered, outOfOrder } = totalsOf(outcome);
  return {
    sent: counts.sent,
    accepted: counts.accepted,
    refused: counts.refused,
    refusals: counts.refusals,
    without_retry_after: counts.withoutRetryAfter,
    unanswered,
    delivered: counts.delivered,
    lost,
    duplicated: counts.duplicated,
    out_of_order: outOfOrder,
    overtaken: counts.overtaken,
    from_wrong_sender: counts.fromWrongSender,
    redelivered: counts.redelivered,
    sync_required: counts.syncRequired,
    sessions_ended: counts.ended,
  };
}

export interface CpuOptions {
  readonly before: CpuSeconds;
  readonly after: CpuSeconds;
  /** Messages accepted and delivered between the two readings. */
  readonly accepted: number;
  readonly delivered: number;
  /** Devices that should receive each message. */
  readonly receivers: number;
  /** CPU seconds that the machine's processors offered in total. */
  readonly machineS: number;
}

/** CPU time per message, and shares of the machine's CPU time. */
export function cpuFigures(options: CpuOptions): Figures {
  const { before, after, delivered, receivers, machineS } = options;
  const messages = Math.max(1, options.accepted);
  const cpu = cpuBetween(before, after);
  const ownS = [...cpu.values()].reduce((sum, seconds) => sum + seconds, 0);
  const generatorS = cpu.get("generator") ?? 0;
  const serverS = ownS - generatorS - (cpu.get("bench") ?? 0);
  const othersS = Math.max(0, after.machine - before.machine - ownS);
  const byProcess = (figure: (seconds: number) => number | null) =>
    Object.fromEntries([...cpu].map(([name, seconds]) => [name, figure(seconds)]));
  return {
    cpu_us_per_message: byProcess((used) => rounded((used / messages) * 1e6)),
    ...(receivers > 1 && {
      cpu_us_per_delivery: byProcess((used) => rounded((used / Math.max(1, delivered)) * 1e6, 2)),
    }),
    cpu_s_per_1000_by_process: byProcess((used) => rounded((used / messages) * 1_000, 4)),
    server_cpu_s_per_1000: rounded((serverS / messages) * 1_000, 4),
    server_share_of_machine: rounded(serverS / machineS, 3),
    generator_share_of_machine: rounded(generatorS / machineS, 3),
    others_share_of_machine: rounded(othersS / machineS, 3),
  };
}
