import { randomInt } from "node:crypto";
import { startTestPostgres } from "../backends/postgres.ts";
import { testModel } from "./property.ts";

const {
  LUCKY_SEED,
  LUCKY_PATH,
  LUCKY_HISTORY,
  LUCKY_RUNS = "1000",
  LUCKY_STEPS = "200",
  LUCKY_MINUTES = "180",
} = process.env;

/** Longest time for closing the database, ms. */
const CLOSE_MS = 30_000;
/** Runs between two lines about the progress. */
const RUNS_PER_LINE = 10;

const seed = Number(LUCKY_SEED ?? randomInt(2 ** 31));
const [runs, steps, minutes] = [Number(LUCKY_RUNS), Number(LUCKY_STEPS), Number(LUCKY_MINUTES)];
console.log(`${runs} runs of ${steps} steps with seed ${seed}, in at most ${minutes} minutes.`);

const startedAt = performance.now();
const seconds = () => Math.round((performance.now() - startedAt) / 1_000);
const closers: (() => Promise<void>)[] = [];
const { pool } = await startTestPostgres(
  { after: (close) => void closers.push(close) },
  { max: 4 },
);
const report = await testModel({
  pool,
  runs,
  steps,
  seed,
  path: LUCKY_PATH,
  historyFolder: LUCKY_HISTORY,
  maxMs: minutes * 60_000,
  finished(finished) {
    if (finished % RUNS_PER_LINE !== 0) return;
    const mib = Math.round(process.memoryUsage.rss() / 1024 / 1024);
    console.log(`${finished} of ${runs} runs with seed ${seed}: ${seconds()} s, ${mib} MiB`);
  },
});
console.log(`${report.passed} of ${runs} runs with seed ${seed} passed in ${seconds()} s.`);
console.log(report.failure ?? "No failure.");
process.exitCode = report.failure === undefined ? 0 : 1;
// Closing waits for a step that hangs.
setTimeout(() => process.exit(), CLOSE_MS).unref();
for (const close of closers) await close();
