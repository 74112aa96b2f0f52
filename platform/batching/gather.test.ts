import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { type GatherOptions, gather } from "./gather.ts";

/** A gather; the test answers its calls. */
function setUp(options: Partial<GatherOptions<number, string>> = {}) {
  const clock = new ManualClock();
  const calls: { items: readonly number[]; answer: PromiseWithResolvers<readonly string[]> }[] = [];
  const { add } = gather<number, string>({
    clock,
    batchCount: 3,
    lingerMs: 0,
    inFlight: 1,
    queueCount: 8,
    call(items) {
      const answer = Promise.withResolvers<readonly string[]>();
      calls.push({ items, answer });
      return answer.promise;
    },
    ...options,
  });
  const sent = () => calls.map(({ items }) => items);
  return { add, clock, calls, sent };
}

test("items of one turn of the event loop share a call, and each gets its own answer", async () => {
  const { add, calls, sent } = setUp();
  const answers = [add(1), add(2)];
  assert.deepEqual(sent(), []);
  await turn();
  assert.deepEqual(sent(), [[1, 2]]);
  calls[0]!.answer.resolve(["one", "two"]);
  assert.deepEqual(await Promise.all(answers), ["one", "two"]);
});

test("a full call is made at once, and the items beyond it wait for the next", async () => {
  const { add, calls, sent } = setUp();
  for (const item of [1, 2, 3, 4]) void add(item);
  assert.deepEqual(sent(), [[1, 2, 3]]);
  await turn();
  assert.equal(sent().length, 1);
  calls[0]!.answer.resolve(["one", "two", "three"]);
  await turn();
  assert.deepEqual(sent(), [[1, 2, 3], [4]]);
});

test("the first item lingers, unless its call becomes full earlier", async () => {
  const { add, clock, sent } = setUp({ lingerMs: 25, inFlight: 2 });
  void add(1);
  clock.advance(24);
  assert.deepEqual(sent(), []);
  clock.advance(1);
  assert.deepEqual(sent(), [[1]]);
  for (const item of [2, 3, 4]) void add(item);
  assert.deepEqual(sent(), [[1], [2, 3, 4]]);
  assert.equal(clock.waiting, 0);
});

test("at most `inFlight` calls are in flight", async () => {
  const { add, calls, sent } = setUp({ inFlight: 2 });
  for (const item of [1, 2, 3, 4, 5, 6, 7, 8]) void add(item);
  await turn();
  assert.deepEqual(sent(), [
    [1, 2, 3],
    [4, 5, 6],
  ]);
  calls[1]!.answer.resolve(["four", "five", "six"]);
  await turn();
  assert.deepEqual(sent().at(-1), [7, 8]);
});

test("a full queue refuses items", async () => {
  const { add } = setUp({ queueCount: 2 });
  assert.ok(add(1));
  assert.ok(add(2));
  assert.equal(add(3), undefined);
});

test("a failed call rejects for all of its items, and the next call is made", async () => {
  const { add, calls, sent } = setUp();
  const failed = [add(1)!, add(2)!];
  await turn();
  const next = add(3)!;
  await turn();
  calls[0]!.answer.reject(fail(ErrorReason.UNAVAILABLE, "unavailable"));
  for (const answer of failed) await assert.rejects(answer, /unavailable/);
  await turn();
  assert.deepEqual(sent(), [[1, 2], [3]]);
  calls[1]!.answer.resolve([]);
  await assert.rejects(next, /an answer is missing/);
});

test("only the failing item of a call rejects, and the others get their answers", async () => {
  const { add, calls, sent } = setUp();
  const answers = ["one", "two", "three"].map((_, nth) => add(nth + 1)!);
  const outcomes = Promise.allSettled(answers);
  for (let nth = 0; nth < calls.length; nth++) {
    const { items, answer } = calls[nth]!;
    if (items.includes(3)) answer.reject(fail(ErrorReason.INTERNAL, "internal error"));
    else answer.resolve(items.map((item) => `answer ${item}`));
    await turn();
  }
  assert.deepEqual(sent(), [[1, 2, 3], [1, 2], [3]]);
  const values = (await outcomes).map((one) => (one.status === "fulfilled" ? one.value : "failed"));
  assert.deepEqual(values, ["answer 1", "answer 2", "failed"]);
});
