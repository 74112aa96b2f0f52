import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import type { Pool } from "#platform/postgres/pool.ts";
import { testModel } from "./property.ts";

const RUNS = 50;
const STEPS = 200;
/** Fixed, so that each `npm test` takes the same steps. `npm run test:long` picks a random seed. */
const SEED = 20_260_101;

const NODE_FLAGS = ["--disable-warning=ExperimentalWarning"];

/**
 * Runs the model in a process of its own: in the process of a test, node:test tracks every promise, which
 * takes a quarter of the time.
 */
function runModel(signal: AbortSignal): Promise<{ code: number; stdout: string }> {
  const script = join(import.meta.dirname, "long.ts");
  const fixed = { LUCKY_RUNS: `${RUNS}`, LUCKY_STEPS: `${STEPS}`, LUCKY_SEED: `${SEED}` };
  const options = { env: { ...fixed, ...process.env }, signal };
  return promisify(execFile)(process.execPath, [...NODE_FLAGS, script], options).then(
    ({ stdout }) => ({ code: 0, stdout }),
    ({ code, stdout, message }) => ({ code, stdout: stdout || message }),
  );
}

test(`${RUNS} runs of ${STEPS} random steps, with faults, leave every device as the model says`, async (t) => {
  const { code, stdout } = await runModel(t.signal);
  t.diagnostic(stdout);
  assert.equal(code, 0, stdout);
  assert.match(stdout, new RegExp(`^${RUNS} of ${RUNS} runs with seed \\d+ passed`, "m"));
});

test("runs that do not fit into their time are a failure", async () => {
  const report = await testModel({ pool: {} as Pool, runs: 7, steps: 1, seed: 1, maxMs: 0 });
  assert.deepEqual(report, { failure: "The time is up after 0 of 7 runs.", passed: 0 });
});
