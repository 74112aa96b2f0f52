import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import type { Pool } from "#platform/postgres/pool.ts";
import type { TestPostgres } from "../backends/postgres.ts";
import { testModel } from "./property.ts";

const RUNS = 50;
/** Runs on three databases among them: each takes as long as four others. */
const SPREAD_RUNS = 4;
const STEPS = 200;
/** Fixed, so that each `npm test` takes the same steps. `npm run test:long` picks a random seed. */
const SEED = 20_260_101;

const NODE_FLAGS = ["--disable-warning=ExperimentalWarning"];

/**
 * Runs the model in a process of its own: in the process of a test, node:test tracks every promise,
 * which takes a quarter of the time.
 */
function runModel(signal: AbortSignal): Promise<{ code: number; stdout: string }> {
  const script = join(import.meta.dirname, "long.ts");
  const fixed = {
    LUCKY_RUNS: `${RUNS}`,
    LUCKY_SPREAD_RUNS: `${SPREAD_RUNS}`,
    LUCKY_STEPS: `${STEPS}`,
    LUCKY_SEED: `${SEED}`,
  };
  const options = { env: { ...fixed, ...process.env }, signal };
  return promisify(execFile)(process.execPath, [...NODE_FLAGS, script], options).then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, stdout, message }) => ({ code, stdout: stdout || message }),
  );
}

test(`${RUNS} runs of ${STEPS} random steps, some on three databases, leave every device as the model says`, async (t) => {
  const { code, stdout } = await runModel(t.signal);
  t.diagnostic(stdout);
  assert.equal(code, 0, stdout);
  for (const [databases, runs] of [
    [1, RUNS - SPREAD_RUNS],
    [3, SPREAD_RUNS],
  ]) {
    const passed = `^${runs} of ${runs} runs with seed \\d+, databases: ${databases}, passed`;
    assert.match(stdout, new RegExp(passed, "m"));
  }
});

test("runs that do not fit into their time are a failure", async () => {
  const postgres: TestPostgres = { url: "", pool: {} as Pool, logUrls: [""], logs: [{} as Pool] };
  const report = await testModel({ postgres, runs: 7, steps: 1, seed: 1, maxMs: 0 });
  assert.deepEqual(report, { failure: "The time is up after 0 of 7 runs.", passed: 0 });
});
