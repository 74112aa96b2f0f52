import assert from "node:assert/strict";
import { test } from "node:test";
import { OffsetClock } from "./offset-clock.ts";

const MINUTE_MS = 60_000;

test("a jump fires the timers that became due, in order, each at its due time", () => {
  const clock = new OffsetClock();
  const startMs = clock.now();
  const fired: [string, number][] = [];
  const fire = (name: string) => () =>
    void fired.push([name, Math.round((clock.now() - startMs) / MINUTE_MS)]);
  clock.after(3 * MINUTE_MS, fire("third"));
  clock.after(MINUTE_MS, () => {
    fire("first")();
    clock.after(MINUTE_MS, fire("armed on the way"));
  });
  clock.after(2 * MINUTE_MS, fire("stopped")).stop();
  clock.after(7 * MINUTE_MS, fire("later"));
  const ticks = clock.every(2 * MINUTE_MS, fire("tick"));
  clock.advance(5 * MINUTE_MS);
  assert.deepEqual(fired, [
    ["first", 1],
    ["armed on the way", 2],
    ["third", 3],
    // It was due at 2 as well, but a jump fires an interval once.
    ["tick", 4],
  ]);
  assert.equal(Math.round((clock.now() - startMs) / MINUTE_MS), 5);
  clock.advance(2 * MINUTE_MS);
  assert.deepEqual(fired.slice(4), [
    ["tick", 6],
    ["later", 7],
  ]);
  ticks.stop();
  clock.advance(60 * MINUTE_MS);
  assert.equal(fired.length, 6);
});

test("the clock runs between jumps", async () => {
  const clock = new OffsetClock();
  clock.advance(90 * 24 * 60 * MINUTE_MS);
  assert.ok(Math.abs(clock.now() - clock.offsetMs - Date.now()) < 1_000);
  let ticks = 0;
  // Timers of the clock do not keep the process alive.
  const alive = setTimeout(() => {}, MINUTE_MS);
  await new Promise<void>((resolve) => {
    const timer = clock.every(5, () => {
      ticks++;
      if (ticks === 3) {
        timer.stop();
        resolve();
      }
    });
  });
  await new Promise<void>((resolve) => void clock.after(5, resolve));
  clearTimeout(alive);
  // A delay longer than setTimeout accepts must not fire early.
  const far = clock.after(60 * 24 * 60 * MINUTE_MS, () => assert.fail("too early"));
  await new Promise((resolve) => setImmediate(resolve));
  far.stop();
});
