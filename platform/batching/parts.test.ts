import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { callInParts } from "./parts.ts";

/** Calls with 512 items, some of them bad. Returns the number of calls and what failed. */
async function callWith(isBad: (item: number) => boolean, reason: ErrorReason) {
  const items = Array.from({ length: 512 }, (_, nth) => nth);
  const failed: number[] = [];
  const taken: number[] = [];
  let calls = 0;
  await callInParts(
    items,
    async (part) => {
      calls += 1;
      if (part.some(isBad)) throw fail(reason, "bad");
      taken.push(...part);
    },
    (part) => void failed.push(...part),
  );
  assert.deepEqual(
    [...taken, ...failed].sort((a, b) => a - b),
    items,
  );
  return { calls, failed, taken };
}

test("bad items fail alone, and the others keep their order", async () => {
  const { calls, failed, taken } = await callWith(
    (item) => item === 0 || item === 300,
    ErrorReason.INVALID_ARGUMENT,
  );
  assert.deepEqual(failed, [0, 300]);
  assert.deepEqual(
    taken,
    taken.toSorted((a, b) => a - b),
  );
  assert.ok(calls < 40, `${calls} calls`);
});

test("the number of calls is bounded when every item is bad", async () => {
  const { calls, failed } = await callWith(() => true, ErrorReason.INTERNAL);
  assert.equal(failed.length, 512);
  assert.equal(calls, 65);
});

test("a batch is not split for an error that its items did not cause", async () => {
  const reasons = [
    ErrorReason.UNAVAILABLE,
    ErrorReason.OVERLOADED,
    ErrorReason.PERMISSION_DENIED,
    ErrorReason.METHOD_NOT_FOUND,
  ];
  for (const reason of reasons) {
    const { calls, failed } = await callWith((item) => item === 7, reason);
    assert.deepEqual([calls, failed.length], [1, 512]);
  }
});
