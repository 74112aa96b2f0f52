import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { RateLimit } from "../rate-limit.ts";
import { Cursors } from "./cursors.ts";

function setUp() {
  const clock = new ManualClock();
  const frames: string[][] = [];
  const write: ConstructorParameters<typeof Cursors>[1] = (batch) => {
    frames.push(
      batch.map((one) => `${one.conversationId} ${one.deliveredSequence} ${one.readSequence}`),
    );
  };
  const cursors = new Cursors(clock, write, () => 0.5);
  return { clock, cursors, frames };
}

test("acknowledgements within 50 ms are batched into one frame, the furthest of each conversation", () => {
  const { clock, cursors, frames } = setUp();
  cursors.open(undefined);
  cursors.delivered("a", 1n);
  cursors.delivered("a", 3n);
  cursors.read("a", 2n);
  cursors.delivered("b", 9n);
  clock.advance(50);
  assert.deepEqual(frames, [["a 3 2", "b 9 0"]]);
  clock.advance(1_000);
  assert.equal(frames.length, 1);
});

test("the first acknowledgement after an idle time is quick; a busy conversation sends two a second", () => {
  const { clock, cursors, frames } = setUp();
  cursors.open(undefined);
  for (let sequence = 1n; sequence <= 100n; sequence++) {
    cursors.delivered("busy", sequence);
    clock.advance(20);
  }
  clock.advance(1_000);
  // One frame is sent after 50 ms, one at each half second of the two seconds, and one at the end.
  assert.deepEqual(frames, [
    ["busy 3 0"],
    ["busy 28 0"],
    ["busy 53 0"],
    ["busy 78 0"],
    ["busy 100 0"],
  ]);
  cursors.delivered("busy", 101n);
  clock.advance(50);
  assert.deepEqual(frames.at(-1), ["busy 101 0"]);
});

test("a step of the time of day neither delays an acknowledgement nor sends it early", () => {
  for (const stepMs of [-3_600_000, 3_600_000]) {
    const { clock, cursors, frames } = setUp();
    cursors.open(undefined);
    cursors.delivered("a", 1n);
    clock.advance(50);
    clock.step(stepMs);
    cursors.delivered("a", 2n);
    clock.advance(499);
    assert.deepEqual(frames, [["a 1 0"]]);
    clock.advance(1);
    assert.deepEqual(frames, [["a 1 0"], ["a 2 0"]]);
  }
});

test("a read acknowledgement is not throttled, and includes the delivered one", () => {
  const { clock, cursors, frames } = setUp();
  cursors.open(undefined);
  cursors.delivered("a", 1n);
  clock.advance(50);
  cursors.delivered("a", 2n);
  clock.advance(50);
  assert.equal(frames.length, 1);
  cursors.read("a", 2n);
  clock.advance(50);
  assert.deepEqual(frames.at(-1), ["a 2 2"]);
});

test("acknowledgements without a session, or from a broken one, are sent on the next", () => {
  const { clock, cursors, frames } = setUp();
  cursors.delivered("a", 1n);
  cursors.open(undefined);
  cursors.lost();
  cursors.read("a", 1n);
  clock.advance(1_000);
  cursors.open(undefined);
  assert.deepEqual(frames, [["a 1 0"], ["a 1 1"]]);
});

test("a frame holds at most 200 cursors", () => {
  const { cursors, frames } = setUp();
  for (let n = 0; n < 450; n++) cursors.delivered(String(n), 1n);
  cursors.open(undefined);
  assert.deepEqual(
    frames.map((frame) => frame.length),
    [200, 200, 50],
  );
});

test("many cursors are sent within the rate limit of the session", () => {
  const { clock, cursors, frames } = setUp();
  for (let n = 0; n < 600; n++) cursors.delivered(String(n), 1n);
  // A frame of 200 cursors has the weight 26.
  cursors.open(new RateLimit(clock, { perSecond: 26, burst: 26 }));
  assert.equal(frames.length, 1);
  clock.advance(1_000);
  assert.equal(frames.length, 2);
  clock.advance(1_000);
  assert.equal(frames.length, 3);
});

test("a frame holds at most the cursors that the server allows", () => {
  const { cursors, frames } = setUp();
  for (let n = 0; n < 5; n++) cursors.delivered(String(n), 1n);
  cursors.open(undefined, 3);
  assert.deepEqual(
    frames.map((frame) => frame.length),
    [3, 2],
  );
});

test("the acknowledgements of a log that was reset are dropped, and lower ones are sent", () => {
  const { clock, cursors, frames } = setUp();
  cursors.open(undefined);
  cursors.delivered("a", 9n);
  clock.advance(50);
  cursors.read("a", 9n);
  cursors.forget("a");
  cursors.delivered("a", 4n);
  cursors.lost();
  cursors.open(undefined);
  assert.deepEqual(frames, [["a 9 0"], ["a 4 0"]]);
});
