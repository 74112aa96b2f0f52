import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startCanary } from "./canary.ts";
import { attackTarget } from "./run.ts";
import { startTarget } from "./target.ts";

const INPUTS = 10_000;
const SEED = 20_260_101;
const ATTACK = { count: INPUTS, seed: SEED };

const target = await startTarget();
after(() => target.stop());
const canary = await startCanary(target);
after(() => canary.close());

test(`${INPUTS} bad inputs of all protocols crash nothing, get no INTERNAL answer, disturb no other session, and leave the memory flat`, async (t) => {
  const print = (line: string) => t.diagnostic(line);
  const report = await attackTarget({ ...ATTACK, print }, target, canary);
  t.diagnostic(`seed ${SEED}: ${report.inputs} inputs; ${report.memory}`);
  assert.deepEqual(report.findings, []);
  assert.ok(report.inputs >= INPUTS);
  assert.ok(report.exchanges > 10);
});

test("a server that ends during the attack is a finding with the seed and the cases", async () => {
  const killer = { ...canary, exchange: () => target.kill() };
  const { findings, cases } = await attackTarget({ ...ATTACK, print() {} }, target, killer);
  const ended = findings.find((finding) => finding.startsWith(`the server of seed ${SEED} ended`));
  assert.match(ended ?? findings.join("\n"), /at one of (\d+, )+\d+\. Its last lines:/);
  assert.match(ended!, new RegExp(`npm run fuzz -- --seed ${SEED} --case \\d+`));
  assert.ok(cases < 200, `${cases} cases`);
});

test("a server that ended before the attack is a finding with the seed", async () => {
  const { findings, cases } = await attackTarget({ ...ATTACK, print() {} }, target, canary);
  assert.match(findings.join("\n"), new RegExp(`seed ${SEED} ended before case 0`));
  assert.equal(cases, 0);
});
