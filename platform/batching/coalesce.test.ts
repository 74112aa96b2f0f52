import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { Coalescer } from "./coalesce.ts";

/** A coalescer of numbers; the test answers its calls. */
function setUp(options: { exhausted?: (items: readonly number[]) => void } = {}) {
  const calls: { items: readonly number[]; answer: PromiseWithResolvers<void> }[] = [];
  const dropped: number[] = [];
  const clock = new ManualClock();
  const coalescer = new Coalescer<number>({
    clock,
    batchCount: 2,
    lingerMs: 25,
    queueCount: 8,
    attempts: 3,
    call(items) {
      const answer = Promise.withResolvers<void>();
      calls.push({ items, answer });
      return answer.promise;
    },
    dropped: (count) => void dropped.push(count),
    ...options,
  });
  const put = (key: string, value: number, lingerMs?: number) =>
    coalescer.put(key, (known) => Math.max(known ?? 0, value), lingerMs);
  const sent = () => calls.map(({ items }) => items);
  return { clock, coalescer, calls, sent, dropped, put };
}

test("close resolves when the lingering items are flushed", async () => {
  const { coalescer, calls, put } = setUp();
  put("a", 1);
  put("a", 3);
  put("a", 2);
  let closed = false;
  const closing = coalescer.close().then(() => {
    closed = true;
  });
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(
    calls.map(({ items }) => items),
    [[3]],
  );
  assert.equal(closed, false);
  calls[0]!.answer.resolve();
  await closing;
});

test("an item that arrives during a call waits for its own linger time, so that others are merged", async () => {
  const { clock, calls, sent, put } = setUp();
  put("a", 1);
  clock.advance(25);
  clock.advance(5);
  put("a", 2);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  put("a", 3);
  clock.advance(24);
  assert.deepEqual(sent(), [[1]]);
  clock.advance(1);
  assert.deepEqual(sent(), [[1], [3]]);
});

test("an item with a longer linger time waits longer, and is flushed with an earlier one", async () => {
  const { clock, calls, sent, put } = setUp();
  put("slow", 1, 1_000);
  clock.advance(900);
  assert.deepEqual(sent(), []);
  put("fast", 1);
  clock.advance(25);
  assert.deepEqual(sent(), [[1, 1]]);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  put("slow", 2, 1_000);
  clock.advance(999);
  assert.equal(sent().length, 1);
  clock.advance(1);
  assert.deepEqual(sent().at(-1), [2]);
});

test("a call is bounded in items, and the next one follows it", async () => {
  const { clock, calls, sent, put } = setUp();
  for (const [nth, key] of ["a", "b", "c"].entries()) put(key, nth);
  clock.advance(25);
  assert.deepEqual(sent(), [[0, 1]]);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(sent(), [[0, 1], [2]]);
});

test("an item is merged with one that waits for a later batch", async () => {
  const { clock, calls, sent, put } = setUp();
  for (const key of ["a", "b", "c"]) put(key, 1);
  clock.advance(25);
  put("c", 9);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(sent(), [[1, 1], [9]]);
});

test("a half-full queue is flushed at once; a full queue drops items and reports them together", async () => {
  const { calls, sent, dropped, put } = setUp();
  for (const key of ["a", "b", "c", "d"]) put(key, 1);
  assert.deepEqual(sent(), [[1, 1]]);
  for (let nr = 0; nr < 9; nr++) put(`more ${nr}`, 2);
  assert.deepEqual(dropped, []);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(dropped, [3]);
});

test("a queue that is half full when a call ends is flushed at once; a shorter one lingers", async () => {
  const { clock, calls, sent, put } = setUp();
  put("first", 1);
  clock.advance(25);
  for (const key of ["a", "b", "c", "d"]) put(key, 2, 1_000);
  assert.deepEqual(sent(), [[1]]);
  calls[0]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(sent(), [[1], [2, 2]]);
  calls[1]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  for (const key of ["e", "f", "g"]) put(key, 3, 1_000);
  calls[2]!.answer.resolve();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.equal(sent().length, 3);
});

test("close ends the back-off and retries once", async () => {
  const { clock, coalescer, calls, dropped, put } = setUp();
  put("a", 1);
  put("b", 1);
  clock.advance(25);
  calls[0]!.answer.reject(fail(ErrorReason.UNAVAILABLE, "unavailable"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  const closing = coalescer.close();
  await new Promise<void>((resolve) => setImmediate(resolve));
  calls[1]!.answer.reject(fail(ErrorReason.UNAVAILABLE, "unavailable"));
  await closing;
  assert.equal(calls.length, 2);
  assert.deepEqual(dropped, [2]);
});

test("an unavailable call is retried with back-off, then its items are dropped", async () => {
  const { clock, calls, sent, dropped, put } = setUp();
  put("a", 1);
  clock.advance(25);
  for (const backOffMs of [200, 400, 600]) {
    calls.at(-1)!.answer.reject(fail(ErrorReason.UNAVAILABLE, "unavailable"));
    await new Promise<void>((resolve) => setImmediate(resolve));
    clock.advance(backOffMs);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(sent(), [[1], [1], [1]]);
  assert.deepEqual(dropped, [1]);
});

test("a failing item is dropped at once, and does not stop the others", async () => {
  const { clock, calls, sent, dropped, put } = setUp();
  const answer = async (error?: Error) => {
    if (error) calls.at(-1)!.answer.reject(error);
    else calls.at(-1)!.answer.resolve();
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  const internal = fail(ErrorReason.INTERNAL, "internal error");
  for (const [nth, key] of ["a", "bad", "c"].entries()) put(key, nth);
  clock.advance(25);
  await answer(internal);
  await answer();
  await answer(internal);
  assert.deepEqual(sent(), [[0, 1], [0], [1], [2]]);
  assert.deepEqual(dropped, [1]);
  await answer();
  assert.equal(clock.waiting, 0);
});

test("a batch that is refused with PERMISSION_DENIED is dropped as a whole, without a retry", async () => {
  const { clock, calls, sent, dropped, put } = setUp();
  put("a", 1);
  put("b", 2);
  clock.advance(25);
  calls[0]!.answer.reject(fail(ErrorReason.PERMISSION_DENIED, "not for this service"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual(sent(), [[1, 2]]);
  assert.deepEqual(dropped, [2]);
});

test("items are handed over after the last attempt of their batch, and bad items are dropped", async () => {
  const exhausted: number[] = [];
  const { clock, calls, dropped, put } = setUp({ exhausted: (items) => exhausted.push(...items) });
  put("a", 1);
  put("b", 2);
  put("bad", 3);
  clock.advance(25);
  for (let attempt = 0; attempt < 3; attempt++) {
    calls[attempt]!.answer.reject(fail(ErrorReason.UNAVAILABLE, "unavailable"));
    await new Promise<void>((resolve) => setImmediate(resolve));
    clock.advance(1_000);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  calls[3]!.answer.reject(fail(ErrorReason.INVALID_ARGUMENT, "bad"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.deepEqual([exhausted, dropped, calls.length], [[1, 2], [1], 4]);
});
