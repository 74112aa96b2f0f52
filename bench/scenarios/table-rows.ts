/** A command of the bench, and the figures of it that the table shows. */
export interface TableRow {
  readonly command: string;
  /** Names of figures in the last line; a dot separates the levels of nested figures. */
  readonly figures: readonly string[];
}

const MODES = ["embedded", "mesh"] as const;

const perMode: readonly TableRow[] = [
  { command: "messages", figures: ["delivered_per_s", "server_cpu_s_per_1000"] },
  { command: "messages --window 1", figures: ["delivered_per_s"] },
  {
    command: "messages --rate 1000 --warmup 20",
    figures: ["p50_ms", "p99_ms", "server_cpu_s_per_1000", "sent_late_p50_ms"],
  },
  { command: "messages --rate 5000 --warmup 10", figures: ["p50_ms", "p99_ms"] },
  { command: "fanout --rate max", figures: ["delivered_per_s"] },
  { command: "fanout --rate max --window 3", figures: ["delivered_per_s"] },
  {
    command: "fanout --rate 20 --warmup 10",
    figures: ["all_have_it_p50_ms", "all_have_it_p99_ms"],
  },
  {
    command: "connections",
    figures: ["process_rss_kib_each", "kernel_kib_each_both_ends", "accepts_per_s", "storm_per_s"],
  },
  {
    command: "compare",
    figures: ["lucky_per_s", "ratio", "ratio_relay", "ratio_ejabberd"],
  },
  { command: "growth", figures: ["ratio_prefilled", "ratio_idle"] },
];

/** Rows of docs/performance.md, in its order. */
export const tableRows: readonly TableRow[] = perMode.flatMap(({ command, figures }) =>
  MODES.map((mode) => ({ command: `${command} --mode ${mode}`, figures })),
);
