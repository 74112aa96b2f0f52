import { randomInt } from "node:crypto";
import { startTestPostgres } from "../backends/postgres.ts";
import { testModel } from "./property.ts";

const {
  LUCKY_SEED,
  LUCKY_PATH,
  LUCKY_HISTORY,
  LUCKY_RUNS = "1000",
  LUCKY_STEPS = "200",
} = process.env;
const seed = Number(LUCKY_SEED ?? randomInt(2 ** 31));
const [runs, steps] = [Number(LUCKY_RUNS), Number(LUCKY_STEPS)];
console.log(`${runs} runs of ${steps} steps with seed ${seed}.`);

const closers: (() => Promise<void>)[] = [];
const { pool } = await startTestPostgres(
  { after: (close) => void closers.push(close) },
  { max: 4 },
);
const startedAt = performance.now();
const report = await testModel({
  pool,
  runs,
  steps,
  seed,
  path: LUCKY_PATH,
  historyFolder: LUCKY_HISTORY,
  finished(finished) {
    if (finished % 50 === 0) console.log(`${finished} runs`);
  },
});
for (const close of closers) await close();
const seconds = Math.round((performance.now() - startedAt) / 1_000);
console.log(report.failure ?? `${report.runs} runs with seed ${seed} in ${seconds} s: no failure.`);
process.exitCode = report.failure === undefined ? 0 : 1;
