import { type Figures, rounded } from "../command/report.ts";
import type { Load } from "../generator/timing/load.ts";
import type { Histogram } from "../statistics/histogram.ts";

/** Share of a core from which on a process of the bench counts as the bottleneck. */
const BUSY_SHARE = 0.9;
/** Share of the due messages that must have been sent. */
const MIN_OFFERED_SHARE = 0.99;
/**
 * Bounds of the generator's lateness, µs and as a share of the latency. The generator is the bottleneck when
 * it exceeds both.
 */
const MAX_LATE_US = 10_000;
const MAX_LATE_SHARE = 0.1;

/** Work of the generators during a measurement. */
export interface Efforts {
  readonly load: Load;
  readonly elapsedS: number;
  /** Shares of a core, by generator. */
  readonly shares: readonly number[];
  /** Latencies of deliveries, µs. */
  readonly latencies: Histogram;
  /** Lateness of sent messages, µs. */
  readonly lateness: Histogram;
}

/** Reason why the generator was the bottleneck; undefined when the server was. */
export function bottleneckOf(efforts: Efforts): string | undefined {
  return efforts.load.kind === "rate"
    ? rateLimit(efforts, efforts.load)
    : busyGenerator(efforts.shares);
}

/** Describes a generator that used a whole core, so that a faster one would give higher figures; else undefined. */
export function busyGenerator(shares: readonly number[]): string | undefined {
  const limit = fullCore("a generator", Math.max(...shares));
  return limit && `${limit}; --generators 2 uses two processes`;
}

/** Describes a process of the bench that used a whole core; else undefined. */
function fullCore(name: string, share: number): string | undefined {
  return share >= BUSY_SHARE ? `${name} used ${Math.round(share * 100)} % of a core` : undefined;
}

/**
 * At a fixed rate the generator affects only when messages are sent, and when it sees them arrive. Latency
 * counts from the due time of a message, so a late generator increases it and hides none of it. A generator
 * that reads late also sends late, because one thread does both. A fully used core alone therefore proves
 * nothing. The generator limits the figures when it did not offer the rate, or when its lateness is a
 * considerable part of the latency: then the latency is only an upper bound.
 */
function rateLimit(efforts: Efforts, { perSecond, burst }: Load & { kind: "rate" }) {
  const { elapsedS, shares, latencies, lateness } = efforts;
  const due = perSecond * elapsedS;
  // For each generator, one burst may become due just after the end.
  const missed = due - lateness.count;
  if (missed > Math.max(burst * shares.length, due * (1 - MIN_OFFERED_SHARE))) {
    return `${Math.round(missed)} of ${Math.round(due)} due messages were not sent`;
  }
  const lateUs = lateness.percentile(0.99);
  const latencyUs = latencies.percentile(0.99);
  if (!(lateUs > MAX_LATE_US && lateUs > latencyUs * MAX_LATE_SHARE)) return undefined;
  const ms = (us: number) => (us / 1_000).toFixed(1);
  return `sends were ${ms(lateUs)} ms late, of ${ms(latencyUs)} ms of latency (p99)`;
}

/** Joins the bottlenecks of several runs, each with the name of its run; undefined when no run has one. */
export function bottlenecksOf(
  runs: Readonly<Record<string, { readonly limitedBy: string | undefined }>>,
): string | undefined {
  const limits = Object.entries(runs).flatMap(([name, { limitedBy }]) =>
    limitedBy === undefined ? [] : [`${name}: ${limitedBy}`],
  );
  return limits.length > 0 ? limits.join("; ") : undefined;
}

/** CPU share of the bench's own process, in a run whose load this process generates itself. */
export interface BenchShare {
  readonly figures: Figures;
  readonly limitedBy: string | undefined;
}

/** Computes that share from the CPU seconds of a run, by process. */
export function benchShare(options: {
  readonly cpu: ReadonlyMap<string, number>;
  readonly elapsedS: number;
  /** Processors of the machine. */
  readonly cpus: number;
}): BenchShare {
  const { cpu, elapsedS, cpus } = options;
  const share = (cpu.get("bench") ?? 0) / elapsedS;
  return {
    figures: { generator_share_of_machine: rounded(share / cpus, 3) },
    limitedBy: fullCore("the bench's own process", share),
  };
}
