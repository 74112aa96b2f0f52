import assert from "node:assert/strict";
import { test } from "node:test";
import { HandClock } from "../../test/clock.ts";
import { Coalescer } from "./coalesce.ts";

/** A coalescer of numbers, and the calls that it makes, each to be answered by hand. */
function setUp() {
  const calls: { items: readonly number[]; answer: PromiseWithResolvers<void> }[] = [];
  const dropped: number[] = [];
  const coalescer = new Coalescer<number>({
    clock: new HandClock(),
    limit: 2,
    lingerMs: 25,
    queue: 4,
    attempts: 3,
    call(items) {
      const answer = Promise.withResolvers<void>();
      calls.push({ items, answer });
      return answer.promise;
    },
    dropped: (count) => void dropped.push(count),
  });
  const put = (key: string, value: number) =>
    coalescer.put(key, (known) => Math.max(known ?? 0, value));
  return { coalescer, calls, dropped, put };
}

test("closing waits until what lingered was brought", async () => {
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

test("closing does not wait for the pause before a repetition, and repeats once", async () => {
  const { coalescer, calls, dropped, put } = setUp();
  put("a", 1);
  put("b", 1);
  calls[0]!.answer.reject(new Error("away"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  const closing = coalescer.close();
  await new Promise<void>((resolve) => setImmediate(resolve));
  calls[1]!.answer.reject(new Error("away"));
  await closing;
  assert.equal(calls.length, 2);
  assert.deepEqual(dropped, [2]);
});
