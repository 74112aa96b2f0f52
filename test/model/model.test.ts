import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../backends/postgres.ts";
import { testModel } from "./property.ts";

const RUNS = 50;
const STEPS = 200;
/** Fixed, so that each `npm test` takes the same steps. `npm run test:long` picks a random seed. */
const SEED = 20_260_101;

const { pool } = await startTestPostgres({ after }, { max: 4 });

test(`${RUNS} runs of ${STEPS} random steps, with faults, leave every device as the model says`, async (t) => {
  const seed = Number(process.env.LUCKY_SEED ?? SEED);
  t.diagnostic(`seed ${seed}`);
  const historyFolder = process.env.LUCKY_HISTORY;
  const report = await testModel({ pool, runs: RUNS, steps: STEPS, seed, historyFolder });
  assert.equal(report.failure, undefined, report.failure);
  assert.equal(report.runs, RUNS);
});
