import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "#platform/clock.ts";
import { Canary, type CanaryRecord } from "../../test/canary/canary.ts";
import { connectCanary } from "../../test/canary/canary-devices.ts";
import { newcomers } from "../../test/canary/newcomers.ts";
import type { ErrorCounts } from "../../test/canary/repeated-action.ts";
import type { Sample } from "../../test/canary/samples.ts";
import type { AttackerApi } from "../attacker/api.ts";
import type { TallyFigures } from "../attacker/target/tally.ts";
import { type CpuSeconds, cpuBetween, readCpu } from "../machine/cpu.ts";
import { type MemoryFigures, MemoryWatch } from "../machine/memory-watch.ts";
import { raisePriority, resetPriority } from "../machine/priority.ts";
import { CalledProcess } from "../processes/called-process.ts";
import { withCleanUp } from "../system/database.ts";
import type { System } from "../system/system.ts";

const ATTACKER = join(import.meta.dirname, "../attacker/main.ts");
const MEMORY_INTERVAL_MS = 250;
/** Time-out for the attacker to cut its connections, and for the last newcomers, ms. */
const END_TIMEOUT_MS = 10_000;

/** Periods of one attack, seconds. */
export interface Periods {
  /** Honest traffic before the attack. */
  readonly before: number;
  readonly during: number;
  readonly after: number;
}

/** An attack, and its effects on honest users and on the servers. */
export interface MeasuredAttack {
  readonly canary: CanaryRecord;
  readonly newcomers: {
    readonly samples: readonly Sample[];
    readonly errors: ErrorCounts;
    /** Newcomers who had not entered at the end. */
    readonly unanswered: number;
  };
  /** Start and end of the attack, on the scale of the samples. */
  readonly beganMs: number;
  readonly endedMs: number;
  /** MiB by server process: at the start of the attack, at most, and at the end of `after`. */
  readonly memory: Readonly<Record<string, MemoryFigures>>;
  /** CPU seconds by process, during the attack and after it. */
  readonly cpu: ReadonlyMap<string, number>;
  readonly cpuAfter: ReadonlyMap<string, number>;
  /** CPU seconds of processes outside the bench, during the attack. */
  readonly othersCpuS: number;
  readonly attacker: TallyFigures;
  /** Names of server processes that ended. */
  readonly ended: readonly string[];
}

export interface MeasureOptions {
  /** Name of the attack. */
  readonly attack: string;
  readonly system: System;
  readonly periods: Periods;
  /** Called after the set-up. */
  readonly loadBegins: () => void;
}

/** Runs an attack in a process of its own while a canary and newcomers use the system. */
export function measureAttack(options: MeasureOptions): Promise<MeasuredAttack> {
  const { attack, system, periods, loadBegins } = options;
  const clock = systemClock;
  return withCleanUp(async (started) => {
    const devices = await connectCanary(system);
    started.push(() => devices.close());
    const attacker = new CalledProcess<AttackerApi>(ATTACKER, "the attacker");
    started.push(() => attacker.kill());
    await attacker.call("prepare", { attack, url: system.url });
    loadBegins();

    raisePriority(process.pid, "the canary");
    started.push(resetPriority);
    const canary = new Canary({ actions: devices, clock });
    const arriving = newcomers(system, clock);
    canary.start();
    arriving.start();
    await pause(periods.before * 1_000);

    const names = new Map([...system.processes, [attacker.pid, "attacker"]]);
    const memory = new MemoryWatch({
      processes: system.processes,
      postmaster: undefined,
      everyMs: MEMORY_INTERVAL_MS,
    });
    started.push(async () => void (await memory.stop()));
    const cpuAtBegin = readCpu(names);
    const beganMs = clock.elapsed();
    await attacker.call("begin", undefined);
    await pause(periods.during * 1_000);
    const tally = await endAttack(attacker);
    const endedMs = clock.elapsed();
    const cpuAtEnd = readCpu(names);
    await pause(periods.after * 1_000);
    const cpuAfter = readCpu(names);
    const memoryFigures = await memory.stop();

    arriving.stop();
    const record = await canary.finish();
    await Promise.race([arriving.settled(), pause(END_TIMEOUT_MS)]);
    return {
      canary: record,
      newcomers: {
        samples: [...arriving.samples],
        errors: { ...arriving.errors },
        unanswered: arriving.inFlight,
      },
      beganMs,
      endedMs,
      memory: memoryFigures,
      cpu: cpuBetween(cpuAtBegin, cpuAtEnd),
      cpuAfter: cpuBetween(cpuAtEnd, cpuAfter),
      othersCpuS: othersBetween(cpuAtBegin, cpuAtEnd),
      attacker: tally,
      ended: endedProcesses(system),
    };
  });
}

/** Ends the attack; kills the attacker after a time-out, which loses its figures. */
async function endAttack(attacker: CalledProcess<AttackerApi>): Promise<TallyFigures> {
  const ended = attacker.call("end", undefined);
  const figures = await Promise.race([ended, pause(END_TIMEOUT_MS, undefined, { ref: false })]);
  if (figures !== undefined) return figures;
  ended.catch(() => {}); // The process was killed.
  attacker.kill();
  return { counts: {}, answers: {}, failures: { "the attacker was killed": 1 } };
}

function othersBetween(before: CpuSeconds, after: CpuSeconds): number {
  const own = [...cpuBetween(before, after).values()].reduce((sum, seconds) => sum + seconds, 0);
  return after.machine - before.machine - own;
}

function endedProcesses({ processes }: System): string[] {
  return [...processes].flatMap(([pid, name]) => (existsSync(`/proc/${pid}`) ? [] : [name]));
}
