import { type Figures, rounded } from "../command/report.ts";
import { median } from "../statistics/median.ts";
import type { Pair, Side } from "./interleaving.ts";

/** Processes that are not servers: their CPU is not counted. */
const NOT_SERVERS = new Set(["bench", "generator"]);

/** A figure that is compared. */
export interface Compared {
  /** Name in the report. */
  readonly name: string;
  /** Whether a run without it cannot be compared. */
  readonly required: boolean;
  /** NaN when the run does not report it. */
  readonly read: (figures: Figures) => number;
}

const numberAt = (name: string) => (figures: Figures) => {
  const value = figures[name];
  return typeof value === "number" ? value : Number.NaN;
};

/**
 * CPU of all servers per message, µs: the sum over `cpu_us_per_message`, whose keys are names of processes.
 */
function serverCpu({ cpu_us_per_message: byProcess }: Figures): number {
  if (typeof byProcess !== "object" || byProcess === null) return Number.NaN;
  const ofServers = Object.entries(byProcess).filter(([name]) => !NOT_SERVERS.has(name));
  return ofServers.reduce((sum, [, us]) => sum + Number(us), 0);
}

/** Figures that a comparison reads from the last line of a run. */
export const compared: readonly Compared[] = [
  { name: "delivered_per_s", required: true, read: numberAt("delivered_per_s") },
  { name: "server_cpu_us_per_message", required: true, read: serverCpu },
  { name: "p50_ms", required: false, read: numberAt("p50_ms") },
  { name: "p99_ms", required: false, read: numberAt("p99_ms") },
  { name: "all_have_it_p50_ms", required: false, read: numberAt("all_have_it_p50_ms") },
  { name: "all_have_it_p99_ms", required: false, read: numberAt("all_have_it_p99_ms") },
];

/** Names of required figures that a run lacks, or reports as zero. */
export function missingFigures(figures: Figures): string[] {
  return compared
    .filter(({ required, read }) => required && !(read(figures) > 0))
    .map(({ name }) => name);
}

/** New ÷ old of one figure. */
export interface Ratio {
  readonly median: number | null;
  readonly lowest: number | null;
  readonly highest: number | null;
  /** Ratio of each pair, in order. */
  readonly pairs: readonly (number | null)[];
}

/** Summarises the ratios of pairs; null represents a ratio that is not a finite number. */
export function ratioOf(ratios: readonly number[]): Ratio {
  const digits = 3;
  return {
    median: rounded(median(ratios), digits),
    lowest: rounded(Math.min(...ratios), digits),
    highest: rounded(Math.max(...ratios), digits),
    pairs: ratios.map((ratio) => rounded(ratio, digits)),
  };
}

/** Ratios by figure, as "<figure>_ratio". A figure that one of the runs does not report is left out. */
export function ratiosOf(pairs: readonly Pair[]): Record<string, Ratio> {
  const ratios = compared.flatMap(({ name, read }) => {
    const values = pairs.map((pair) => read(pair.new) / read(pair.old));
    return values.some(Number.isNaN) ? [] : [[`${name}_ratio`, ratioOf(values)] as const];
  });
  return Object.fromEntries(ratios);
}

/** Values of one side by figure, one for each pair. */
export function valuesOf(pairs: readonly Pair[], side: Side): Record<string, (number | null)[]> {
  const values = compared.flatMap(({ name, read }) => {
    const list = pairs.map((pair) => rounded(read(pair[side]), 2));
    return list.every((value) => value === null) ? [] : [[name, list] as const];
  });
  return Object.fromEntries(values);
}
