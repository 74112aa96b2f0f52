import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { Canary } from "./canary.ts";
import { percentile, samplesBetween } from "./samples.ts";

/** A server that acknowledges and delivers when the test says so. */
function server() {
  const clock = new ManualClock(0);
  const texts: string[] = [];
  const answers: PromiseWithResolvers<void>[] = [];
  let deliver: (text: string) => void = () => {};
  const canary = new Canary({
    clock,
    actions: {
      send(text) {
        texts.push(text);
        const answer = Promise.withResolvers<void>();
        answers.push(answer);
        return answer.promise;
      },
      getUser: async () => {},
      onText(arrived) {
        deliver = arrived;
      },
    },
  });
  canary.start();
  return {
    clock,
    canary,
    texts,
    acknowledge: (nth: number) => answers[nth]!.resolve(),
    refuse: (nth: number, reason: ErrorReason) => answers[nth]!.reject(fail(reason, "refused")),
    deliver: (text: string) => deliver(text),
  };
}

test("a canary sends five messages and reads once in a second, and measures each", async () => {
  const { clock, canary, texts, acknowledge, deliver } = server();
  clock.advance(1_000);
  await turn();
  assert.equal(texts.length, 5);
  for (const [nth, text] of texts.entries()) {
    clock.advance(10);
    acknowledge(nth);
    await turn();
    deliver(text);
  }
  const record = await canary.finish();
  assert.deepEqual(
    record.acknowledged.map(({ atMs, ms }) => [atMs, ms]),
    [1, 2, 3, 4, 5].map((nth) => [200 * nth, 1_000 - 200 * nth + 10 * nth]),
  );
  assert.deepEqual(record.delivered, record.acknowledged);
  assert.deepEqual(record.reads, [{ atMs: 1_000, ms: 0 }]);
  const { errors, lost, duplicated, unanswered } = record;
  assert.deepEqual(
    { errors, lost, duplicated, unanswered },
    { errors: { send: {}, read: {} }, lost: 0, duplicated: 0, unanswered: 0 },
  );
});

test("an acknowledged message that never arrives is lost, and one that arrives twice is reported", async () => {
  const { clock, canary, texts, acknowledge, deliver } = server();
  clock.advance(400);
  acknowledge(0);
  acknowledge(1);
  deliver(texts[1]!);
  deliver(texts[1]!);
  const finishing = canary.finish();
  await turn();
  clock.advance(30_000);
  const { lost, duplicated } = await finishing;
  assert.deepEqual({ lost, duplicated }, { lost: 1, duplicated: 1 });
});

test("the end waits for a message that is delivered late", async () => {
  const { clock, canary, texts, acknowledge, deliver } = server();
  clock.advance(200);
  acknowledge(0);
  const finishing = canary.finish();
  await turn();
  clock.advance(20_000);
  deliver(texts[0]!);
  const { lost, delivered } = await finishing;
  assert.equal(lost, 0);
  assert.deepEqual(delivered, [{ atMs: 200, ms: 20_000 }]);
});

test("refused sends are errors with a latency, and sends without an answer are counted", async () => {
  const { clock, canary, refuse } = server();
  clock.advance(400);
  refuse(0, ErrorReason.OVERLOADED);
  const finishing = canary.finish();
  await turn();
  clock.advance(30_000);
  const { errors, unanswered, lost, acknowledged } = await finishing;
  assert.deepEqual(errors, { send: { OVERLOADED: 1 }, read: {} });
  assert.deepEqual({ unanswered, lost }, { unanswered: 1, lost: 0 });
  assert.deepEqual(acknowledged, [{ atMs: 200, ms: 200 }]);
});

test("percentiles are of the samples that began within a period", () => {
  const samples = Array.from({ length: 100 }, (_, at) => ({ atMs: at, ms: 100 - at }));
  assert.equal(percentile(samples, 0.5), 50);
  assert.equal(percentile(samples, 0.99), 99);
  assert.equal(percentile(samples, 1), 100);
  assert.equal(percentile(samplesBetween(samples, 90, 100), 1), 10);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});
