import { randomInt } from "node:crypto";
import { startTestPostgres } from "../backends/postgres.ts";
import { testModel } from "./property.ts";

const {
  LUCKY_SEED,
  LUCKY_PATH,
  LUCKY_HISTORY,
  LUCKY_DATABASES,
  LUCKY_SPREAD_RUNS,
  LUCKY_RUNS = "1000",
  LUCKY_STEPS = "200",
  LUCKY_MINUTES = "180",
} = process.env;

/** Longest time for closing the database, ms. */
const CLOSE_MS = 30_000;
/** Runs between two lines about the progress. */
const RUNS_PER_LINE = 10;

const seed = Number(LUCKY_SEED ?? randomInt(2 ** 31));
const [allRuns, steps, minutes] = [Number(LUCKY_RUNS), Number(LUCKY_STEPS), Number(LUCKY_MINUTES)];
/** Runs on three databases among all runs. */
const spreadRuns = Number(LUCKY_SPREAD_RUNS ?? Math.floor(allRuns / 2));
const parts =
  LUCKY_DATABASES === undefined
    ? [
        { databases: 1, runs: allRuns - spreadRuns },
        { databases: 3, runs: spreadRuns },
      ]
    : [{ databases: Number(LUCKY_DATABASES), runs: allRuns }];
const startedAt = performance.now();
const seconds = () => Math.round((performance.now() - startedAt) / 1_000);

/** Makes runs on a log of so many databases. Returns whether all passed. */
async function runOn(databases: number, runs: number): Promise<boolean> {
  const closers: (() => Promise<void>)[] = [];
  const scope = { after: (close: () => Promise<void>) => void closers.push(close) };
  const postgres = await startTestPostgres(scope, { max: 4, logs: databases });
  const report = await testModel({
    postgres,
    runs,
    steps,
    seed,
    path: LUCKY_PATH,
    historyFolder: LUCKY_HISTORY,
    maxMs: minutes * 60_000 - (performance.now() - startedAt),
    finished(finished) {
      if (finished % RUNS_PER_LINE !== 0) return;
      const mib = Math.round(process.memoryUsage.rss() / 1024 / 1024);
      console.log(`${finished} of ${runs} runs with seed ${seed}: ${seconds()} s, ${mib} MiB`);
    },
  });
  console.log(
    `${report.passed} of ${runs} runs with seed ${seed}, databases: ${databases}, passed after ${seconds()} s.`,
  );
  console.log(report.failure ?? "No failure.");
  if (report.failure !== undefined) {
    process.exitCode = 1;
    // Closing waits for a step that hangs.
    setTimeout(() => process.exit(), CLOSE_MS).unref();
  }
  for (const close of closers) await close();
  return report.failure === undefined;
}

console.log(`${allRuns} runs of ${steps} steps with seed ${seed}, in at most ${minutes} minutes.`);
for (const { databases, runs } of parts) if (!(await runOn(databases, runs))) break;
