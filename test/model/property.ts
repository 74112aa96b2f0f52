import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { TestPostgres } from "../backends/postgres.ts";
import { checkHistory } from "../history/checker.ts";
import { Databases } from "./databases.ts";
import { Run } from "./run.ts";
import { type Step, stepsOf } from "./steps.ts";

export interface ModelTestOptions {
  readonly postgres: TestPostgres;
  readonly runs: number;
  readonly steps: number;
  readonly seed: number;
  /** The failure to repeat, as a report names it; all runs when absent. */
  readonly path?: string | undefined;
  /** Folder for the history of every run. Absent: only failed runs, in a temporary folder. */
  readonly historyFolder?: string | undefined;
  /** Time limit of all runs together, ms; exceeding it is a failure. Unbounded when absent. */
  readonly maxMs?: number;
  /** Called after each run. */
  readonly finished?: (runs: number) => void;
}

/** A failure shrinks at most this long, ms; then the shortest list of steps so far is reported. */
const SHRINK_MS = 120_000;

/** Longest time of one run, ms; most take a second. */
const RUN_MS = 180_000;

/** Results of all runs. */
export interface ModelTestReport {
  /** Describes the failure, with the command that repeats it; undefined when there is none. */
  readonly failure: string | undefined;
  /** Runs without a failure. */
  readonly passed: number;
}

/** Compares the system with the model in random runs, and checks the history of each. */
export async function testModel(options: ModelTestOptions): Promise<ModelTestReport> {
  const { postgres, runs, steps, seed, path, maxMs = Number.POSITIVE_INFINITY, finished } = options;
  const databases = postgres.logs.length;
  const folder = options.historyFolder ?? join(tmpdir(), "lucky-history");
  let nth = 0;
  let shrinkUntilMs = Number.POSITIVE_INFINITY;
  const endMs = Date.now() + maxMs;
  let lastFailed = "";
  const property = fc.asyncProperty(stepsOf(steps, databases), async (list) => {
    fc.pre(Date.now() < shrinkUntilMs);
    if (lastFailed === "" && Date.now() >= endMs) {
      shrinkUntilMs = 0;
      throw new Error("the time is up");
    }
    const name = `databases-${databases}-seed-${seed}-run-${++nth}.jsonl`;
    const { error, run } = await takeAll(postgres, list);
    const file = join(folder, error === undefined ? name : `failed-${name}`);
    if (error !== undefined || options.historyFolder !== undefined) run.history.save(file);
    if (lastFailed === "") finished?.(nth);
    if (error === undefined) return;
    // A shrunk run replaces the previous failure.
    if (lastFailed !== "" && options.historyFolder === undefined) rmSync(lastFailed);
    lastFailed = file;
    if (shrinkUntilMs === Number.POSITIVE_INFINITY) shrinkUntilMs = Date.now() + SHRINK_MS;
    throw error;
  });
  const details = await fc.check(property, {
    seed,
    numRuns: runs,
    maxSkipsPerRun: Number.MAX_SAFE_INTEGER,
    ...(path === undefined ? {} : { path, endOnFailure: true }),
  });
  const passed = details.failed ? details.numRuns - 1 : details.numRuns;
  if (lastFailed !== "")
    return { failure: describe({ details, runs, steps, databases, history: lastFailed }), passed };
  const failure = details.failed ? `The time is up after ${passed} of ${runs} runs.` : undefined;
  return { failure, passed };
}

/** The error of a run with a step that hangs. */
class Hung extends Error {}

/** Takes steps one after the other. Fails when they take longer than RUN_MS: then a step hangs. */
async function takeInTime(run: Run, steps: readonly Step[]): Promise<void> {
  let current: Step | undefined;
  async function take(): Promise<void> {
    for (current of steps) await run.take(current);
  }
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const text = () => `not done after ${RUN_MS} ms: ${JSON.stringify(current)}`;
    timer = setTimeout(() => reject(new Hung(text())), RUN_MS);
  });
  await Promise.race([take(), late]).finally(() => clearTimeout(timer));
}

/** Takes all steps on a new system, and checks its history. Returns the first error. */
async function takeAll(
  postgres: TestPostgres,
  steps: readonly Step[],
): Promise<{ run: Run; error: unknown }> {
  const closers: (() => Promise<void>)[] = [];
  const scope = { after: (close: () => Promise<void>) => void closers.push(close) };
  const run = await Run.start(scope, await Databases.open(postgres));
  let error: unknown;
  try {
    await takeInTime(run, [...steps, { kind: "quiet" }]);
    const findings = checkHistory(run.history.events);
    if (findings.length > 0)
      throw new Error(`The history breaks promises:\n${findings.join("\n")}`);
  } catch (caught) {
    error = caught;
  }
  // A system that hangs does not close: leave it to the end of the process.
  if (error instanceof Hung) return { run, error };
  await run.close();
  for (const close of closers.reverse()) await close();
  return { run, error };
}

function describe(failed: {
  details: fc.RunDetails<[Step[]]>;
  runs: number;
  steps: number;
  databases: number;
  history: string;
}): string {
  const { details, runs, steps, databases, history } = failed;
  const { seed, counterexamplePath: path, counterexample, numShrinks } = details;
  const list = counterexample?.[0] ?? [];
  const variables = `LUCKY_DATABASES=${databases} LUCKY_SEED=${seed} LUCKY_PATH=${path} LUCKY_STEPS=${steps}`;
  return [
    String((details.errorInstance as Error | undefined)?.stack ?? details.errorInstance),
    "",
    `${list.length} steps, after ${details.numRuns} of ${runs} runs and ${numShrinks} shrinks:`,
    ...list.map((step) => `  ${JSON.stringify(step)}`),
    "",
    `Repeat it: ${variables} npm run test:long`,
    `History:   ${history}`,
  ].join("\n");
}
