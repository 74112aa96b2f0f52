import { setTimeout as pause } from "node:timers/promises";
import { type Figures, rounded } from "../command/report.ts";
import type { Load } from "../generator/timing/load.ts";
import { cpuBetween, readCpu } from "../machine/cpu.ts";
import type { Machine } from "../machine/machine.ts";
import { MemoryWatch } from "../machine/memory-watch.ts";
import {
  countCursorsBehind,
  countOutbox,
  findPostmaster,
  readLogCounts,
} from "../system/log-counts.ts";
import type { Bench } from "./bench.ts";
import { bottleneckOf } from "./bottleneck.ts";
import { findFaults, type Outcome } from "./faults.ts";
import type { Generators } from "./generators.ts";
import { countFigures, cpuFigures, latencyFigures, latenessFigures } from "./run-figures.ts";

/** Time-out of the wait for answers and deliveries after the load. */
const ARRIVAL_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const MEMORY_EVERY_MS = 1_000;
/** Time-out of the wait for cursors. Connect stores the delivered cursors of groups once a minute. */
const CURSOR_TIMEOUT_MS = 90_000;

export interface RunOptions {
  readonly bench: Pick<Bench, "loadBegins">;
  readonly generators: Generators;
  readonly machine: Machine;
  /** Names of the server's processes, by process id. */
  readonly processes: ReadonlyMap<number, string>;
  readonly load: Load;
  readonly warmupS: number;
  readonly seconds: number;
  /** Devices that should receive each message. */
  readonly receivers: number;
  /** Whether all messages share one sequence of numbers and go to every device. */
  readonly shared: boolean;
  /** Whether the server promises an order, as Lucky does; true when absent. */
  readonly ordered?: boolean;
  /** Whether devices acknowledge, so that their cursors must reach the last entry; false when absent. */
  readonly acknowledged?: boolean;
  /**
   * Databases of the server's log, whose entries are compared with the accepted messages; undefined for
   * a server without a log. All are in one PostgreSQL.
   */
  readonly logUrls: readonly string[] | undefined;
}

/** Result of a run. */
export interface Run {
  readonly figures: Figures;
  readonly faults: string[];
  readonly limitedBy: string | undefined;
  readonly deliveredPerS: number;
  /** Messages accepted during the measurement. */
  readonly accepted: number;
  /** CPU seconds used during the measurement, by process. */
  readonly cpu: ReadonlyMap<string, number>;
}

/** Sends load, measures, waits for all deliveries, and compares the counts with the database. */
export async function run(options: RunOptions): Promise<Run> {
  const { generators, load, seconds, warmupS, shared, receivers, logUrls } = options;
  const processes = new Map([...options.processes, ...generators.processes]);
  const beganMs = Date.now();
  const storedBefore = logUrls === undefined ? undefined : await readLogCounts(logUrls);
  console.log(`sending for ${seconds} s, after a warm-up of ${warmupS} s`);
  await generators.start(load, { shared });
  options.bench.loadBegins();
  await pause(warmupS * 1_000);

  const memory = new MemoryWatch({
    processes: options.processes,
    postmaster: logUrls === undefined ? undefined : await findPostmaster(logUrls[0]!),
    everyMs: MEMORY_EVERY_MS,
  });
  const cpuBefore = readCpu(processes);
  const before = await generators.beginMeasurement();
  await pause(seconds * 1_000);
  const measured = await generators.endMeasurement();
  const cpuAfter = readCpu(processes);
  const memoryMib = await memory.stop();
  await generators.stop();

  await waitForArrivals(options);
  const behind = options.acknowledged ? await waitForCursors(logUrls, beganMs) : undefined;
  const stored = logUrls === undefined ? undefined : await readLogCounts(logUrls);
  const counts = await generators.counts();
  const { latencies, lateness } = await generators.latencies();
  const outcome: Outcome = {
    counts,
    measured: latencies.count,
    receivers,
    ordered: options.ordered ?? true,
    behind: behind ?? 0,
    storedBefore,
    stored,
  };
  const { elapsedS, shares } = measured;
  const delivered = measured.counts.delivered - before.delivered;
  return {
    deliveredPerS: delivered / elapsedS,
    accepted: measured.counts.accepted - before.accepted,
    cpu: cpuBetween(cpuBefore, cpuAfter),
    limitedBy: bottleneckOf({ load, elapsedS, shares, latencies, lateness }),
    faults: findFaults(outcome),
    figures: {
      delivered_per_s: rounded(delivered / elapsedS, 0),
      accepted_per_s: rounded((measured.counts.accepted - before.accepted) / elapsedS, 0),
      ...latencyFigures(latencies),
      ...(load.kind === "rate" && latenessFigures(lateness, elapsedS)),
      ...countFigures(outcome),
      ...(behind !== undefined && { cursors_behind: behind }),
      ...(stored && { rows: stored.rows, sequences: stored.sequences, outbox: stored.outbox }),
      memory_mib: memoryMib,
      ...cpuFigures({
        before: cpuBefore,
        after: cpuAfter,
        accepted: measured.counts.accepted - before.accepted,
        delivered,
        receivers,
        machineS: elapsedS * options.machine.cpus,
      }),
    },
  };
}

/** Waits until all sends are answered, all accepted messages delivered, and the outbox is empty; or times out. */
async function waitForArrivals(options: RunOptions): Promise<void> {
  const { generators, receivers, logUrls } = options;
  const untilMs = performance.now() + ARRIVAL_TIMEOUT_MS;
  for (;;) {
    const { sent, accepted, refused, delivered } = await generators.counts();
    const arrived = accepted + refused >= sent && delivered >= accepted * receivers;
    const complete = arrived && (logUrls === undefined || (await countOutbox(logUrls)) === 0);
    if (complete || performance.now() > untilMs) return;
    await pause(POLL_MS);
  }
}

/** Waits for the cursors of all devices. Returns how many are still behind after the time-out. */
async function waitForCursors(
  logUrls: readonly string[] | undefined,
  sinceMs: number,
): Promise<number> {
  if (logUrls === undefined) return 0;
  const untilMs = performance.now() + CURSOR_TIMEOUT_MS;
  for (;;) {
    const behind = await countCursorsBehind(logUrls, sinceMs);
    if (behind === 0 || performance.now() > untilMs) return behind;
    await pause(POLL_MS);
  }
}
