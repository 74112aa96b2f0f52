import { type Figures, rounded } from "../command/report.ts";
import type { Load } from "../generator/timing/load.ts";
import type { Histogram } from "../statistics/histogram.ts";

/** Share of a core from which on a process of the bench may have been the limit. */
const BUSY_SHARE = 0.9;
/** Share of what was due that must have left. */
const MIN_OFFERED_SHARE = 0.99;
/** Lateness of the generator, µs, and as a share of the latency: more than both is too much. */
const MAX_LATE_US = 10_000;
const MAX_LATE_SHARE = 0.1;

/** What the generators did in a measured time. */
export interface Efforts {
  readonly load: Load;
  readonly elapsedS: number;
  /** Shares of a core, by generator. */
  readonly shares: readonly number[];
  /** µs, of deliveries. */
  readonly latencies: Histogram;
  /** µs, of messages that were due and left. */
  readonly lateness: Histogram;
}

/** Why figures are the generator's and not the server's; undefined when they are the server's. */
export function bottleneckOf(efforts: Efforts): string | undefined {
  return efforts.load.kind === "rate"
    ? rateLimit(efforts, efforts.load)
    : busyGenerator(efforts.shares);
}

/** Says so when a generator took all of a core: a quicker one would have made for higher figures. */
export function busyGenerator(shares: readonly number[]): string | undefined {
  const limit = fullCore("a generator", Math.max(...shares));
  return limit && `${limit}; --generators 2 plays the devices by two`;
}

/** Says so when a process of the bench took all of a core; undefined when it did not. */
function fullCore(who: string, share: number): string | undefined {
  return share >= BUSY_SHARE ? `${who} took ${Math.round(share * 100)} % of a core` : undefined;
}

/**
 * At a fixed rate the generator decides nothing but when messages leave, and how soon it sees them
 * arrive. Latency counts from when a message was due, so a generator that is late adds to it and hides
 * none; what it sees late, it also sends late, for it does both in turn. So a core of which it took all
 * says nothing. Figures are its own when it did not offer the rate, or when a considerable part of the
 * latency is its lateness, for whatever reason: then the latency is no more than a bound.
 */
function rateLimit(efforts: Efforts, { perSecond, burst }: Load & { kind: "rate" }) {
  const { elapsedS, shares, latencies, lateness } = efforts;
  const due = perSecond * elapsedS;
  // One burst of each generator may fall just outside.
  const missed = due - lateness.count;
  if (missed > Math.max(burst * shares.length, due * (1 - MIN_OFFERED_SHARE))) {
    return `${Math.round(missed)} of ${Math.round(due)} messages that were due did not leave`;
  }
  const lateUs = lateness.percentile(0.99);
  const latencyUs = latencies.percentile(0.99);
  if (!(lateUs > MAX_LATE_US && lateUs > latencyUs * MAX_LATE_SHARE)) return undefined;
  const ms = (us: number) => (us / 1_000).toFixed(1);
  return `sends left ${ms(lateUs)} ms late, of ${ms(latencyUs)} ms of latency (p99)`;
}

/** The limits of several runs, each with the name of its run; undefined when there was none. */
export function bottlenecksOf(
  runs: Readonly<Record<string, { readonly limitedBy: string | undefined }>>,
): string | undefined {
  const limits = Object.entries(runs).flatMap(([name, { limitedBy }]) =>
    limitedBy === undefined ? [] : [`${name}: ${limitedBy}`],
  );
  return limits.length > 0 ? limits.join("; ") : undefined;
}

/** What the bench's own process took, in a run whose load it makes itself. */
export interface BenchShare {
  readonly figures: Figures;
  readonly limitedBy: string | undefined;
}

/** Reads it off the CPU seconds of a run, by process. */
export function benchShare(options: {
  readonly cpu: ReadonlyMap<string, number>;
  readonly elapsedS: number;
  /** Of the machine. */
  readonly cpus: number;
}): BenchShare {
  const { cpu, elapsedS, cpus } = options;
  const share = (cpu.get("bench") ?? 0) / elapsedS;
  return {
    figures: { generator_share_of_machine: rounded(share / cpus, 3) },
    limitedBy: fullCore("the bench's own process", share),
  };
}
