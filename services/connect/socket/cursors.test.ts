import assert from "node:assert/strict";
import { test } from "node:test";
import { Cursors } from "./cursors.ts";

test("a device need not acknowledge entries before its first delivery", () => {
  const cursors = new Cursors(8);
  cursors.sent("c", { first: 7, last: 9, expected: 9 });
  assert.equal(cursors.acked("c"), 6);
  // Batches arrive out of order.
  cursors.sent("c", { first: 5, last: 6, expected: 6 });
  assert.equal(cursors.acked("c"), 4);
  cursors.acknowledge("c", 9);
  cursors.acknowledge("c", 3);
  assert.equal(cursors.acked("c"), 9);
});

test("a device that is behind gets redeliveries again after it acknowledges far enough", () => {
  const cursors = new Cursors(8);
  const cursor = cursors.sent("c", { first: 1, last: 5, expected: 5 });
  cursor.behind = 5;
  cursor.attempts = 3;
  cursors.acknowledge("c", 4);
  assert.equal(cursor.behind, 5);
  cursors.acknowledge("c", 5);
  assert.deepEqual([cursor.behind, cursor.attempts], [0, 0]);
});

test("the cache evicts the least recently used cursor, keeps the base of a group and marks an evicted conversation with missed entries", () => {
  const cursors = new Cursors(2);
  cursors.joinGroup("g", 10);
  cursors.sent("g", { first: 11, last: 12, expected: 12 });
  cursors.missed("a", 1);
  cursors.sent("b", { first: 1, last: 1, expected: 1 });
  assert.equal(cursors.get("g"), undefined);
  assert.equal(
    cursors.acked("g"),
    12,
    "no acknowledgement is expected after a group's cursor was evicted",
  );
  assert.equal(cursors.evictedMissed, false);
  cursors.sent("d", { first: 1, last: 1, expected: 1 });
  assert.equal(cursors.evictedMissed, true);
});

test("an acknowledgement of another epoch replaces a higher one, and one without an epoch does not", () => {
  const cursors = new Cursors(4);
  cursors.acknowledge("c", 9, 1n);
  cursors.acknowledge("c", 3);
  assert.equal(cursors.acked("c"), 9);
  cursors.acknowledge("c", 3, 1n);
  assert.equal(cursors.acked("c"), 9);
  cursors.acknowledge("c", 3, 2n);
  assert.equal(cursors.acked("c"), 3);
  cursors.acknowledge("c", 2, 2n);
  assert.equal(cursors.acked("c"), 3);
});
