import assert from "node:assert/strict";
import { test } from "node:test";
import { Follow, noFollows } from "./received-messages.ts";

/** Counts of a run of deliveries, each [number, sequence]. */
function follow(...deliveries: [number: number, sequence: number][]) {
  const counts = noFollows();
  const one = new Follow(counts);
  for (const [number, sequence] of deliveries) one.deliver(number, sequence);
  return counts;
}

test("messages in their order are delivered, each once", () => {
  assert.deepEqual(follow([0, 1], [1, 2], [2, 4]), { ...noFollows(), delivered: 3 });
});

test("the same place again is redelivered, another place is duplicated", () => {
  assert.deepEqual(follow([0, 1], [0, 1], [0, 2]), {
    ...noFollows(),
    delivered: 1,
    redelivered: 1,
    duplicated: 1,
  });
});

test("an entry after a later one is late, and the hole that it left is no message", () => {
  assert.deepEqual(follow([0, 1], [2, 3], [1, 2]), { ...noFollows(), delivered: 3, late: 1 });
});
