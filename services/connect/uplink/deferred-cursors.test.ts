import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { DeferredCursors } from "./deferred-cursors.ts";

/** A store with an interval of a minute, and the cursors that it flushed. */
function setUp(options: { limit?: number; intervalMs?: number } = {}) {
  const clock = new ManualClock();
  const flushed: string[] = [];
  const queue = { room: Number.POSITIVE_INFINITY, early: 0 };
  const deferred = new DeferredCursors({
    clock,
    intervalMs: 60_000,
    limit: 1_000_000,
    ...options,
    room: () => queue.room,
    flush(userId, groupId, sequence) {
      queue.room -= 1;
      flushed.push(`${userId} ${groupId} ${sequence}`);
    },
    flushedEarly(cursors) {
      queue.early += cursors;
    },
  });
  return { clock, deferred, flushed, queue };
}

test("the cursors of a user are joined by group and flushed once a minute", () => {
  const { clock, deferred, flushed } = setUp();
  for (let sequence = 1; sequence <= 100; sequence += 1) {
    assert.ok(deferred.hold("1", "g", sequence));
    assert.ok(deferred.hold("1", "h", 7));
  }
  clock.advance(60_000);
  assert.deepEqual(flushed.sort(), ["1 g 100", "1 h 7"]);
  assert.equal(deferred.count, 0);
  assert.equal(clock.waiting, 0, "an empty store has no timer");
  // Acknowledgements all the time: a flush follows the previous one after a minute.
  for (let second = 0; second < 180; second += 1) {
    deferred.hold("1", "g", 101 + second);
    clock.advance(1_000);
  }
  assert.equal(flushed.length, 2 + 3);
});

test("the flushes of many users are spread over the minute", () => {
  const { clock, deferred, flushed } = setUp();
  for (let user = 0; user < 6_000; user += 1) deferred.hold(`17${user}`, "g", 1);
  for (let second = 0; second < 60; second += 1) {
    const before = flushed.length;
    clock.advance(1_000);
    const rows = flushed.length - before;
    assert.ok(rows >= 50 && rows <= 150, `${rows} rows in one second`);
  }
  assert.equal(flushed.length, 6_000);
});

test("a cursor is taken for a read cursor, and then not flushed", () => {
  const { clock, deferred, flushed } = setUp();
  deferred.hold("1", "g", 5);
  deferred.hold("1", "h", 6);
  assert.equal(deferred.take("1", "g"), 5);
  assert.equal(deferred.take("1", "g"), 0);
  assert.equal(deferred.take("2", "g"), 0);
  clock.advance(60_000);
  assert.deepEqual(flushed, ["1 h 6"]);
});

test("the cursors of a user whose last session ended are flushed at once, as far as there is room", () => {
  const { clock, deferred, flushed, queue } = setUp();
  for (let group = 0; group < 3_000; group += 1) deferred.hold("1", `${group}`, 1);
  deferred.hold("2", "g", 1);
  queue.room = 1_000;
  deferred.flushUser("1");
  assert.equal(flushed.length, 1_000);
  queue.room = Number.POSITIVE_INFINITY;
  clock.advance(60_000);
  assert.equal(new Set(flushed).size, 3_001);
  assert.equal(deferred.count, 0);
});

test("cursors without room wait for the next ticks; none is lost or flushed twice", () => {
  const { clock, deferred, flushed, queue } = setUp();
  for (let user = 0; user < 600; user += 1) deferred.hold(`${user}`, "g", 1);
  queue.room = 0;
  clock.advance(60_000);
  assert.equal(flushed.length, 0);
  for (let tick = 0; tick < 120; tick += 1) {
    queue.room = 10;
    clock.advance(1_000);
  }
  assert.equal(flushed.length, 600);
  assert.equal(new Set(flushed).size, 600);
});

test("a full store flushes the users early that are due next; without room it takes no new cursor", () => {
  const { deferred, flushed, queue } = setUp({ limit: 600 });
  for (let user = 0; user < 1_000; user += 1) assert.ok(deferred.hold(`${user}`, "g", 1));
  assert.ok(deferred.count <= 600);
  assert.equal(flushed.length + deferred.count, 1_000);
  assert.equal(queue.early, flushed.length);
  queue.room = 0;
  for (let user = 1_000; deferred.count < 600; user += 1) deferred.hold(`${user}`, "g", 1);
  assert.equal(deferred.hold("more", "g", 1), false);
  const [userId] = [...Array(1_000).keys()].filter((user) => deferred.hold(`${user}`, "g", 2));
  assert.notEqual(userId, undefined, "a cursor that is held already still moves");
  assert.equal(deferred.count, 600);
});

test("a draining store flushes everything as fast as there is room, and holds nothing", () => {
  const { clock, deferred, flushed, queue } = setUp();
  for (let user = 0; user < 100; user += 1) deferred.hold(`${user}`, "g", 1);
  queue.room = 30;
  deferred.drain();
  assert.equal(flushed.length, 30);
  assert.equal(deferred.hold("1", "g", 2), false);
  queue.room = 60;
  clock.advance(50);
  assert.equal(flushed.length, 90);
  deferred.close();
  assert.equal(new Set(flushed).size, 100);
  assert.equal(deferred.count, 0);
});

test("with an interval of 0 no cursor is held", () => {
  const { deferred } = setUp({ intervalMs: 0 });
  assert.equal(deferred.hold("1", "g", 1), false);
});
