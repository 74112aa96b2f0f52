import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused } from "../auth.suite.ts";
import { createStrengthEstimator } from "./strength-estimator.ts";

/** A thread that scores 4, ends on "die", throws on "throw" and hangs on "hang". */
const FAULTY = new URL(`data:text/javascript,
  import { parentPort } from "node:worker_threads";
  parentPort.on("message", ({ password }) => {
    if (password === "die") process.exit(1);
    if (password === "throw") throw new Error("fault");
    while (password === "hang");
    parentPort.postMessage(4);
  });`);

function start(t: TestContext, script?: URL) {
  const clock = new ManualClock();
  const given = { clock, log: quiet };
  const estimator = createStrengthEstimator(script ? { ...given, script } : given);
  t.after(() => estimator.stop());
  const score = (password: string, isUrgent = false) =>
    estimator.score({ password, words: [] }, { isUrgent });
  return { clock, estimator, score };
}

test("the event loop is free while a costly password is estimated", async (t) => {
  const { score } = start(t);
  await score("start the thread");
  let turns = 0;
  let isDone = false;
  const turn = () => {
    turns += 1;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  assert.equal(await score("4@8({[<3961!|70$5+7%2/\\".repeat(5)), 4);
  isDone = true;
  assert.ok(turns > 10, `${turns}`);
});

test("known words lower the score", async (t) => {
  const { estimator } = start(t);
  const password = "kaltenbrunn1";
  assert.ok((await estimator.score({ password, words: [] })) >= 2);
  assert.ok((await estimator.score({ password, words: ["kaltenbrunn"] })) < 2);
});

test("the death of the thread fails one estimate; another thread makes the next ones", async (t) => {
  const { clock, score } = start(t, FAULTY);
  for (const fatal of ["die", "throw"]) {
    const [dead, after] = [score(fatal), score("a password")];
    await refused(dead, ErrorReason.OVERLOADED);
    assert.equal(await after, 4);
  }
  assert.equal(clock.waiting, 0);
});

test("an estimate that takes too long is refused, and those behind it are made", async (t) => {
  const { clock, score } = start(t, FAULTY);
  const hanging = score("hang");
  clock.advance(5_000);
  const after = score("a password");
  clock.advance(5_000);
  await refused(hanging, ErrorReason.OVERLOADED);
  assert.equal(await after, 4);
});

test("at most 128 estimates wait; an urgent one is made before them", async (t) => {
  const { clock, score } = start(t, FAULTY);
  const order: string[] = [];
  const hanging = score("hang");
  clock.advance(5_000);
  const waiting = Array.from({ length: 128 }, async (_, n) => {
    await score("a password", n === 127);
    order.push(n === 127 ? "urgent" : "usual");
  });
  await refused(score("one more"), ErrorReason.OVERLOADED);
  clock.advance(5_000);
  await refused(hanging, ErrorReason.OVERLOADED);
  await Promise.all(waiting);
  assert.deepEqual(order, ["urgent", ...Array.from({ length: 127 }, () => "usual")]);
});

test("stop ends the thread and fails the estimates that run and wait", async (t) => {
  const { clock, estimator, score } = start(t, FAULTY);
  const all = [score("hang"), score("a password")].map((one) =>
    refused(one, ErrorReason.UNAVAILABLE),
  );
  await estimator.stop();
  await Promise.all(all);
  await refused(score("a password"), ErrorReason.UNAVAILABLE);
  assert.equal(clock.waiting, 0);
  await estimator.stop();
});
