import { join } from "node:path";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { readLastLine } from "../command/last-line.ts";
import { runProgram } from "../command/program.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import { readMachine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { scenario } from "../runs/scenario.ts";
import { median } from "../statistics/median.ts";

/** A command of the bench, and the figures of it that the table shows. */
interface TableRow {
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
const tableRows: readonly TableRow[] = perMode.flatMap(({ command, figures }) =>
  MODES.map((mode) => ({ command: `${command} --mode ${mode}`, figures })),
);

const declared = {
  runs: { default: "3", doc: "how often each command runs" },
  only: { default: "", doc: "run only commands that match this regular expression" },
} satisfies FlagTable;

export default scenario({
  summary: "the table of docs/performance.md: medians of several runs of each scenario",
  flags: declared,
  run: table,
});

async function table(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const only = new RegExp(flags.text("only"));
  const rows = tableRows.filter(({ command }) => only.test(command));
  const faults: string[] = [];
  const limited: string[] = [];
  const figures: Record<string, Figures> = {};
  const count = flags.number("runs");
  bench.loadBegins();
  for (const row of rows) {
    const runs: Figures[] = [];
    for (let run = 1; run <= count; run++) {
      const result = await runCommand(row.command);
      const note = (text: string) => `${row.command}, run ${run}: ${text}`;
      for (const fault of (result.faults as string[] | undefined) ?? ["no figures"])
        faults.push(note(fault));
      if (result.generator_limited === true) limited.push(note("the generator was the bottleneck"));
      runs.push(result);
      console.log(describe(row, runs));
    }
    figures[row.command] = Object.fromEntries(
      row.figures.map((name) => [
        name,
        { median: median(read(runs, name)), all: read(runs, name) },
      ]),
    );
  }
  console.log();
  for (const [command, found] of Object.entries(figures)) {
    for (const [name, value] of Object.entries(found)) {
      const { median: middle, all } = value as { median: number; all: number[] };
      console.log(`| \`${command}\` | ${name} | ${middle} | ${all.join(" · ")} |`);
    }
  }
  return {
    figures: { ...figures, machine },
    faults,
    limitedBy: limited.length > 0 ? limited.join("; ") : undefined,
  };
}

function describe({ command, figures }: TableRow, runs: readonly Figures[]): string {
  const parts = figures.map((name) => `${name} ${read(runs, name).at(-1)}`);
  const others = runs.at(-1)?.others_share_of_machine;
  return `${command}, run ${runs.length}: ${parts.join(", ")}, others ${others ?? "?"}`;
}

/** One figure of each run; a dot in its name separates the levels of nested figures. */
function read(runs: readonly Figures[], name: string): number[] {
  return runs.map((figures) => {
    const value = name
      .split(".")
      .reduce<unknown>((inner, key) => (inner as Figures | undefined)?.[key], figures);
    return rounded(Number(value), 3) ?? Number.NaN;
  });
}

/** Runs one command of the bench; no figures when it prints none. */
async function runCommand(command: string): Promise<Figures> {
  const script = join(import.meta.dirname, "../main.ts");
  const args = [...process.execArgv, script, ...command.split(" ")];
  const { stdout } = await runProgram({ program: process.execPath, args, errors: "inherit" });
  return readLastLine(stdout) ?? {};
}
