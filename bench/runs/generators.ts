import { type ChildProcess, fork } from "node:child_process";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { FlagTable } from "../command/flags.ts";
import type { Counts } from "../generator/accounting/ledger.ts";
import { noCounts } from "../generator/accounting/ledger.ts";
import type { Round } from "../generator/accounting/measurement.ts";
import type { GeneratorApi, Measured, Setup } from "../generator/api.ts";
import type { CatchUpResult } from "../generator/devices/catch-up.ts";
import type { DeviceSpec, OpenResult } from "../generator/devices/devices.ts";
import type { Load } from "../generator/timing/load.ts";
import { epochOffsetUs } from "../generator/timing/microsecond-clock.ts";
import { Histogram } from "../statistics/histogram.ts";
import { busyGenerator } from "./bottleneck.ts";

/** Handshakes on their way at once in each process, where it does not matter. */
const CONCURRENT_HANDSHAKES = 64;

/** How long devices join acknowledgements, as the client does. */
export const ACKNOWLEDGE_MS = 50;

/** The flag of scenarios whose devices are played by generators. */
export const generatorFlags = {
  generators: { default: "1", doc: "processes that play the devices" },
} satisfies FlagTable;

/** A measured time, of all generators together. */
export interface MeasuredTotals {
  readonly counts: Counts;
  readonly elapsedS: number;
  /** Shares of a core, by generator. */
  readonly shares: readonly number[];
}

/** Of the messages that were due in the measured time, µs. */
export interface LatencyHistograms {
  readonly latencies: Histogram;
  readonly lateness: Histogram;
}

export interface OpenTotals {
  readonly elapsedS: number;
  readonly failed: number;
  readonly failures: Record<string, number>;
  readonly latencies: Histogram;
  readonly limitedBy: string | undefined;
}

/** The processes that play devices. */
export class Generators {
  readonly #children: readonly GeneratorProcess[];

  private constructor(children: readonly GeneratorProcess[]) {
    this.#children = children;
  }

  static async start(count: number, setup: Omit<Setup, "epochOffsetUs">): Promise<Generators> {
    const children = Array.from({ length: count }, () => new GeneratorProcess());
    const offset = epochOffsetUs();
    await Promise.all(
      children.map((child) => child.call("setup", { ...setup, epochOffsetUs: offset })),
    );
    return new Generators(children);
  }

  /** Process ids with the name that their CPU is counted under. */
  get processes(): [pid: number, name: string][] {
    return this.#children.map(({ pid }) => [pid, "generator"]);
  }

  /** Opens sessions, so many at a time in each process. Pairs stay together in one process. */
  async open(devices: readonly DeviceSpec[], atOnce = CONCURRENT_HANDSHAKES): Promise<OpenTotals> {
    const count = this.#children.length;
    const parts = this.#children.map((_, nth) =>
      devices.filter(({ index }) => (index >> 1) % count === nth),
    );
    const beganMs = performance.now();
    const opened = await Promise.all(
      this.#children.map((child, nth) => child.call("open", { devices: parts[nth]!, atOnce })),
    );
    const shares = opened.map(({ cpuUs, elapsedUs }) => cpuUs / elapsedUs);
    return {
      elapsedS: (performance.now() - beganMs) / 1_000,
      failed: opened.reduce((sum, { failed }) => sum + failed, 0),
      failures: sumByName(opened.map(({ failures }) => failures)),
      latencies: mergeHistograms(opened.map((one: OpenResult) => one.latencies)),
      limitedBy: busyGenerator(shares),
    };
  }

  async cut(): Promise<void> {
    await this.#all((child) => child.call("cut", undefined));
  }

  /** A rate is shared out; one run of numbers begins in one process only. */
  async start(load: Load, options: { readonly shared: boolean }): Promise<void> {
    const senders = options.shared ? this.#children.slice(0, 1) : this.#children;
    const part =
      load.kind === "rate" ? { ...load, perSecond: load.perSecond / senders.length } : load;
    await Promise.all(senders.map((child) => child.call("start", part)));
  }

  async stop(): Promise<void> {
    await this.#all((child) => child.call("stop", undefined));
  }

  async counts(): Promise<Counts> {
    return sumCounts(await this.#all((child) => child.call("counts", undefined)));
  }

  /** Begins to measure; counts until then. */
  async beginMeasurement(): Promise<Counts> {
    return sumCounts(await this.#all((child) => child.call("beginMeasurement", undefined)));
  }

  /** Ends measuring. */
  async endMeasurement(): Promise<MeasuredTotals> {
    const parts = await this.#all((child) => child.call("endMeasurement", undefined));
    const efforts = parts.map(({ effort }: Measured) => effort);
    return {
      counts: sumCounts(parts.map(({ counts }) => counts)),
      elapsedS: Math.max(...efforts.map(({ elapsedUs }) => elapsedUs)) / 1e6,
      shares: efforts.map(({ cpuUs, elapsedUs }) => cpuUs / elapsedUs),
    };
  }

  /** How long everything took that was due in the measured time; asked when it has arrived. */
  async latencies(): Promise<LatencyHistograms> {
    const parts = await this.#all((child) => child.call("latencies", undefined));
    return {
      latencies: mergeHistograms(parts.map(({ latencies }) => latencies)),
      lateness: mergeHistograms(parts.map(({ lateness }) => lateness)),
    };
  }

  /** Messages that every device gets: until how many had each, and when the last one had it. */
  async rounds(): Promise<Round[]> {
    const together = new Map<number, Round>();
    for (const rounds of await this.#all((child) => child.call("rounds", undefined))) {
      for (const round of rounds) {
        const other = together.get(round.number);
        together.set(round.number, {
          ...round,
          devices: round.devices + (other?.devices ?? 0),
          lastUs: Math.max(round.lastUs, other?.lastUs ?? 0),
        });
      }
    }
    return [...together.values()];
  }

  /** Lets every device catch up. */
  async sync(atOnce: number) {
    const parts = await this.#all((child) => child.call("sync", { atOnce }));
    const sum = (count: (part: CatchUpResult) => number) =>
      parts.reduce((before, part) => before + count(part), 0);
    return {
      latencies: mergeHistograms(parts.map(({ latencies }) => latencies)),
      entries: sum(({ entries }) => entries),
      lost: sum(({ lost }) => lost),
      duplicated: sum(({ duplicated }) => duplicated),
      outOfOrder: sum(({ outOfOrder }) => outOfOrder),
      failures: sumByName(parts.map(({ failures }) => failures)),
      elapsedS: Math.max(...parts.map(({ elapsedUs }) => elapsedUs)) / 1e6,
      limitedBy: busyGenerator(parts.map(({ cpuUs, elapsedUs }) => cpuUs / elapsedUs)),
    };
  }

  /** Ends the processes. */
  close(): void {
    for (const child of this.#children) child.close();
  }

  #all<T>(ask: (child: GeneratorProcess) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#children.map(ask));
  }
}

type Argument<M extends keyof GeneratorApi> = Parameters<GeneratorApi[M]>[0];
type Answer<M extends keyof GeneratorApi> = Awaited<ReturnType<GeneratorApi[M]>>;

/** One process, seen from here. */
class GeneratorProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(e: Error): void }>();
  #ids = 0;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "../generator/main.ts"), {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      // Typed arrays stay typed arrays.
      serialization: "advanced",
    });
    raisePriority(this.#child.pid);
    this.#child.on("message", (message: { id: number; result?: unknown; error?: string }) => {
      const { id, result, error } = message;
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(result as never);
      else call?.reject(new Error(error));
    });
    this.#child.once("exit", (code, signal) => {
      const error = new Error(`a generator ended (${signal ?? code})`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  call<M extends keyof GeneratorApi>(method: M, argument: Argument<M>): Promise<Answer<M>> {
    return new Promise((resolve, reject) => {
      const id = this.#ids++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, method, argument }, (error) => {
        if (error) reject(error);
      });
    });
  }

  close(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}

/**
 * A generator plays other machines: it does not wait for the servers to leave it a core, where this
 * may be said. It takes no more of the machine than before, but takes it when it is due.
 */
function raisePriority(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, -10);
  } catch {
    console.error("the generator has no priority over the servers: latencies come out higher");
  }
}

function mergeHistograms(parts: readonly Float64Array<ArrayBufferLike>[]): Histogram {
  const all = new Histogram();
  for (const counts of parts) all.merge(new Histogram(new Float64Array(counts)));
  return all;
}

function sumCounts(parts: readonly Counts[]): Counts {
  const { refusals, ended, ...none } = noCounts();
  const names = Object.keys(none) as (keyof typeof none)[];
  for (const name of names) for (const part of parts) none[name] += part[name];
  return {
    ...none,
    refusals: sumByName([refusals, ...parts.map((part) => part.refusals)]),
    ended: sumByName([ended, ...parts.map((part) => part.ended)]),
  };
}

function sumByName(parts: readonly Record<string, number>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const part of parts) {
    for (const [name, count] of Object.entries(part)) sum[name] = (sum[name] ?? 0) + count;
  }
  return sum;
}
