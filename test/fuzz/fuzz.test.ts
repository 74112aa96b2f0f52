import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzz } from "./run.ts";

const INPUTS = 20_000;
const SEED = 20_260_101;

test(`${INPUTS} bad inputs of all protocols crash nothing, get no INTERNAL answer, disturb no other session, and leave the memory flat`, async (t) => {
  const report = await fuzz({ count: INPUTS, seed: SEED, print: (line) => t.diagnostic(line) });
  t.diagnostic(`seed ${SEED}: ${report.inputs} inputs; ${report.memory}`);
  assert.deepEqual(report.findings, []);
  assert.ok(report.inputs >= INPUTS);
  assert.ok(report.exchanges > 10);
});
