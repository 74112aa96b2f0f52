import type { FlagTable } from "../command/flags.ts";
import type { Counts } from "../generator/accounting/ledger.ts";
import { noCounts } from "../generator/accounting/ledger.ts";
import type { Round } from "../generator/accounting/measurement.ts";
import type { Measured, Setup } from "../generator/api.ts";
import type { AcknowledgementLoad } from "../generator/devices/acknowledgement-load.ts";
import type { CatchUpResult } from "../generator/devices/catch-up.ts";
import type { DeviceSpec, OpenResult } from "../generator/devices/devices.ts";
import type { PageSyncOptions } from "../generator/devices/page-sync.ts";
import type { Load } from "../generator/timing/load.ts";
import { epochOffsetUs } from "../generator/timing/microsecond-clock.ts";
import { Histogram } from "../statistics/histogram.ts";
import { busyGenerator } from "./bottleneck.ts";
import { type GeneratorProcess, startGenerator } from "./generator-process.ts";

/** Default number of handshakes in flight in each process. */
const CONCURRENT_HANDSHAKES = 64;

/** How long devices batch acknowledgements, milliseconds, as the client does. */
export const ACKNOWLEDGE_MS = 50;

/** Flag of scenarios whose devices are simulated by generators. */
export const generatorFlags = {
  generators: { default: "1", doc: "processes that simulate the devices" },
} satisfies FlagTable;

/** A measurement, of all generators together. */
export interface MeasuredTotals {
  readonly counts: Counts;
  readonly elapsedS: number;
  /** Shares of a core, by generator. */
  readonly shares: readonly number[];
}

/** Times of the messages that were due during the measurement, µs. */
export interface LatencyHistograms {
  readonly latencies: Histogram;
  readonly lateness: Histogram;
}

/** Result of opening sessions, in all generators together. */
export interface OpenTotals {
  readonly elapsedS: number;
  readonly failed: number;
  readonly failures: Record<string, number>;
  readonly latencies: Histogram;
  readonly limitedBy: string | undefined;
}

/** The processes that simulate the devices. */
export class Generators {
  readonly #children: readonly GeneratorProcess[];

  private constructor(children: readonly GeneratorProcess[]) {
    this.#children = children;
  }

  static async start(count: number, setup: Omit<Setup, "epochOffsetUs">): Promise<Generators> {
    const children = Array.from({ length: count }, startGenerator);
    const offset = epochOffsetUs();
    await Promise.all(
      children.map((child) => child.call("setup", { ...setup, epochOffsetUs: offset })),
    );
    return new Generators(children);
  }

  /** Process ids, with the name of their CPU in reports. */
  get processes(): [pid: number, name: string][] {
    return this.#children.map(({ pid }) => [pid, "generator"]);
  }

  /** Opens sessions, at most `atOnce` at a time in each process. Both devices of a pair are in one process. */
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

  /** Starts the load. A rate is divided among the processes; shared numbers are sent by one process only. */
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

  /** Starts the measurement; returns the counts so far. */
  async beginMeasurement(): Promise<Counts> {
    return sumCounts(await this.#all((child) => child.call("beginMeasurement", undefined)));
  }

  /** Ends the measurement. */
  async endMeasurement(): Promise<MeasuredTotals> {
    const parts = await this.#all((child) => child.call("endMeasurement", undefined));
    const efforts = parts.map(({ effort }: Measured) => effort);
    return {
      counts: sumCounts(parts.map(({ counts }) => counts)),
      elapsedS: Math.max(...efforts.map(({ elapsedUs }) => elapsedUs)) / 1e6,
      shares: efforts.map(({ cpuUs, elapsedUs }) => cpuUs / elapsedUs),
    };
  }

  /** Latencies of the measurement; complete when all messages have arrived. */
  async latencies(): Promise<LatencyHistograms> {
    const parts = await this.#all((child) => child.call("latencies", undefined));
    return {
      latencies: mergeHistograms(parts.map(({ latencies }) => latencies)),
      lateness: mergeHistograms(parts.map(({ lateness }) => lateness)),
    };
  }

  /**
   * Shared messages of the measurement: for each, the number of devices that received it, and the time of its
   * last delivery.
   */
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

  /** Lets every device call Sync to the end. Returns the number of conversations in the answers. */
  async syncPages(options: PageSyncOptions): Promise<number> {
    const parts = await this.#all((child) => child.call("syncPages", options));
    return parts.reduce((sum, conversations) => sum + conversations, 0);
  }

  /** Lets devices acknowledge without receiving messages. Returns the number of acknowledgements. */
  async acknowledge(load: AcknowledgementLoad): Promise<number> {
    const parts = await this.#all((child) => child.call("acknowledge", load));
    return parts.reduce((sum, acknowledged) => sum + acknowledged, 0);
  }

  /** Ends the processes. */
  close(): void {
    for (const child of this.#children) child.close();
  }

  #all<T>(ask: (child: GeneratorProcess) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#children.map(ask));
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
