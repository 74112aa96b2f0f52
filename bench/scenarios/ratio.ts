import { existsSync } from "node:fs";
import { join } from "node:path";
import { type FlagTable, readFlags } from "../command/flags.ts";
import { readLastLine } from "../command/last-line.ts";
import { runProgram } from "../command/program.ts";
import type { Figures, Report } from "../command/report.ts";
import { checkOut, describeTree, resolveCommit } from "../comparison/checkout.ts";
import { runInterleaved, type Side } from "../comparison/interleaving.ts";
import { compared, missingFigures, ratiosOf, valuesOf } from "../comparison/ratios.ts";
import { readMachine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import type { Scenario } from "../runs/scenario.ts";

const ROOT = join(import.meta.dirname, "../..");

/** Scenarios that report all figures that a comparison needs. */
const comparable: Readonly<Record<string, () => Promise<{ default: Scenario }>>> = {
  messages: () => import("./messages.ts"),
  fanout: () => import("./fanout.ts"),
  sync: () => import("./sync.ts"),
};

const flags = {
  against: { default: "", doc: "the other commit: a hash, a tag or a branch of this repository" },
  pairs: { default: "5", doc: "number of pairs of runs; the order of the two sides alternates" },
  new: {
    default: "",
    doc: 'flags that only this working tree gets, such as --new="--logs 3"',
  },
  "new-settings": {
    default: "",
    doc: 'settings that only this working tree gets, such as --new-settings="LUCKY_TRACE_ONE_IN=1000"',
  },
  together: {
    default: undefined,
    doc: "runs both sides of a pair at the same time, so that a change of the machine's speed affects both",
  },
} satisfies FlagTable;

const USAGE = "npm run bench -- ratio --against <git ref> <scenario> [--flag value …]";

/** A comparison as given on the command line. */
export interface Comparison {
  /** Flags of the comparison itself. */
  readonly own: readonly string[];
  readonly scenario: string | undefined;
  /** Flags that both sides get. */
  readonly passed: readonly string[];
}

/** Separates the flags of the comparison, in any position, from the scenario and its flags. */
export function splitArguments(args: readonly string[]): Comparison {
  const own: string[] = [];
  const others: string[] = [];
  const rest = args.values();
  for (const argument of rest) {
    const name = /^--([a-z-]+)(?==|$)/.exec(argument)?.[1];
    if (name === undefined || !Object.hasOwn(flags, name)) {
      others.push(argument);
      continue;
    }
    own.push(argument);
    const isSwitch = flags[name as keyof typeof flags].default === undefined;
    if (isSwitch || argument.includes("=")) continue;
    const { value } = rest.next();
    if (value !== undefined) own.push(value);
  }
  const [scenario, ...passed] = others;
  return { own, scenario, passed };
}

export default {
  summary:
    "this working tree against another commit: --against <git ref> <scenario> [its flags]; " +
    "ratios are new ÷ old",
  flags,
  run: ratio,
} satisfies Scenario;

async function ratio(args: readonly string[], bench: Bench): Promise<Report> {
  const { own, scenario, passed } = splitArguments(args);
  const read = readFlags(flags, own);
  const count = read.number("pairs");
  if (!Number.isInteger(count)) throw new Error("--pairs must be a whole number");
  const against = read.text("against");
  if (against === "") throw new Error(`--against <git ref> is missing: ${USAGE}`);
  const onlyNew = read
    .text("new")
    .split(" ")
    .filter((flag) => flag !== "");
  const settings = readSettings(read.text("new-settings"));
  await requireComparable(scenario, [...passed, ...onlyNew]);
  const commit = await resolveCommit(ROOT, against);
  const tree = await describeTree(ROOT);
  const command = [scenario!, ...passed];
  const checkout = await checkOut(ROOT, commit);
  try {
    bench.loadBegins();
    const roots: Readonly<Record<Side, string>> = { new: ROOT, old: checkout.root };
    const run = async (side: Side, pair: number) => {
      const isNew = side === "new";
      const own = isNew ? onlyNew : [];
      const figures = await runBench(roots[side], [...command, ...own], isNew ? settings : {});
      console.log(`pair ${pair + 1} of ${count}, ${side}: ${describeRun(figures)}`);
      return figures;
    };
    const pairs = await runInterleaved(count, run, { together: read.on("together") });
    const limited = pairs.flatMap((pair, index) =>
      (["new", "old"] as const)
        .filter((side) => pair[side].generator_limited === true)
        .map((side) => `pair ${index + 1}, ${side}: the generator was the bottleneck`),
    );
    return {
      figures: {
        command: command.join(" "),
        new_flags: onlyNew.join(" "),
        new_settings: settings,
        new_commit: tree,
        old_commit: commit,
        ...ratiosOf(pairs),
        new: valuesOf(pairs, "new"),
        old: valuesOf(pairs, "old"),
        machine: readMachine(),
      },
      faults: [],
      limitedBy: limited.length > 0 ? limited.join("; ") : undefined,
    };
  } finally {
    checkout.remove();
  }
}

/**
 * Throws an error for the user for a scenario that cannot be compared, or a flag that the scenario does not
 * have.
 */
async function requireComparable(name: string | undefined, passed: readonly string[]) {
  const names = Object.keys(comparable).join(", ");
  if (name === undefined) throw new Error(`the scenario is missing (${names}): ${USAGE}`);
  if (!Object.hasOwn(comparable, name)) {
    throw new Error(
      `"${name}" cannot be compared: only ${names} report throughput and CPU per message`,
    );
  }
  const { default: scenario } = await comparable[name]!();
  readFlags(scenario.flags, passed);
}

/** Parses "LUCKY_A=1 LUCKY_B=2". Throws an error for the user. */
export function readSettings(text: string): Record<string, string> {
  const words = text.split(" ").filter((word) => word !== "");
  return Object.fromEntries(
    words.map((word) => {
      const [, name, value] = /^(LUCKY_[A-Z0-9_]+)=(.*)$/.exec(word) ?? [];
      if (name === undefined || value === undefined)
        throw new Error(`--new-settings: "${word}" is not LUCKY_<NAME>=<value>`);
      return [name, value];
    }),
  );
}

/**
 * Runs the bench of a checkout to its end, with the Node from its own packages. Throws an error with all of
 * its output when it fails, reports a fault, or lacks a compared figure.
 */
export async function runBench(
  root: string,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Figures> {
  const node = join(root, "node_modules/.bin/node");
  const { end, stdout, output } = await runProgram({
    program: existsSync(node) ? node : process.execPath,
    args: ["--disable-warning=ExperimentalWarning", join(root, "bench/main.ts"), ...command],
    cwd: root,
    env,
    errors: "keep",
  });
  const failure = (why: string) => new Error(`${command.join(" ")} in ${root} ${why}:\n${output}`);
  // Code 2: the generator was the bottleneck. The last line still contains the figures, with
  // generator_limited.
  if (end !== 0 && end !== 2) throw failure(`failed (${end})`);
  const figures = readLastLine(stdout);
  if (figures === undefined) throw failure("printed no figures");
  const missing = missingFigures(figures);
  if (missing.length > 0) throw failure(`did not report ${missing.join(" and ")}`);
  return figures;
}

function describeRun(figures: Figures): string {
  return compared
    .map(({ name, read }) => ({ name, value: read(figures) }))
    .filter(({ value }) => !Number.isNaN(value))
    .map(({ name, value }) => `${name} ${Number(value.toFixed(2))}`)
    .join(", ");
}
