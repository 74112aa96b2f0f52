import assert from "node:assert/strict";
import { test } from "node:test";
import { advanceWatermark, type Channel, lastForeignSequence } from "../subscriptions/channels.ts";
import { Cursors } from "./cursors.ts";
import { SmallSet } from "./small-set.ts";

test("what a device need not acknowledge is what came before its first delivery", () => {
  const cursors = new Cursors(8);
  cursors.sent("c", { first: 7, last: 9, expected: 9 });
  assert.equal(cursors.acked("c"), 6);
  // A batch that was written earlier comes later.
  cursors.sent("c", { first: 5, last: 6, expected: 6 });
  assert.equal(cursors.acked("c"), 4);
  cursors.acknowledge("c", 9);
  cursors.acknowledge("c", 3);
  assert.equal(cursors.acked("c"), 9);
});

test("a device that is behind is served again when it acknowledges far enough", () => {
  const cursors = new Cursors(8);
  const cursor = cursors.sent("c", { first: 1, last: 5, expected: 5 });
  cursor.behind = 5;
  cursor.attempts = 3;
  cursors.acknowledge("c", 4);
  assert.equal(cursor.behind, 5);
  cursors.acknowledge("c", 5);
  assert.deepEqual([cursor.behind, cursor.attempts], [0, 0]);
});

test("cursors are bounded; a group keeps its base and a missed conversation is remembered as such", () => {
  const cursors = new Cursors(2);
  cursors.joinGroup("g", 10);
  cursors.sent("g", { first: 11, last: 12, expected: 12 });
  cursors.missed("a", 1);
  cursors.sent("b", { first: 1, last: 1, expected: 1 });
  assert.equal(cursors.get("g"), undefined);
  assert.equal(cursors.acked("g"), 12, "nothing is expected of a group that was forgotten");
  assert.equal(cursors.evictedMissed, false);
  cursors.sent("d", { first: 1, last: 1, expected: 1 });
  assert.equal(cursors.evictedMissed, true);
});

test("a channel knows the last sequence that each session was sent from elsewhere", () => {
  const channel: Channel = { name: "g:1", sessions: new SmallSet() };
  const deliver = (last: number, ...origins: string[]) =>
    advanceWatermark(channel, { conversationId: "1", last, origins, limit: 2 });
  const watermark = deliver(5, "", "ana", "ana");
  assert.deepEqual([watermark.first, watermark.last], [3, 5]);
  assert.equal(lastForeignSequence(watermark, "ana"), 3);
  assert.equal(lastForeignSequence(watermark, "ben"), 5);
  deliver(6, "ben");
  assert.equal(lastForeignSequence(watermark, "ana"), 6);
  assert.equal(lastForeignSequence(watermark, "ben"), 5);
  deliver(4, "late");
  assert.equal(watermark.last, 6, "what comes again or late moves nothing back");
});
