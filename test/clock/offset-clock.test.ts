import assert from "node:assert/strict";
import { test } from "node:test";
import { MovedClock } from "./offset-clock.ts";

const MINUTE_MS = 60_000;

test("a jump rings what came due in it, in order, each at its time", () => {
  const clock = new MovedClock();
  const startMs = clock.now();
  const rung: [string, number][] = [];
  const ring = (name: string) => () =>
    void rung.push([name, Math.round((clock.now() - startMs) / MINUTE_MS)]);
  clock.after(3 * MINUTE_MS, ring("third"));
  clock.after(MINUTE_MS, () => {
    ring("first")();
    clock.after(MINUTE_MS, ring("armed on the way"));
  });
  clock.after(2 * MINUTE_MS, ring("stopped")).stop();
  clock.after(7 * MINUTE_MS, ring("later"));
  const ticks = clock.every(2 * MINUTE_MS, ring("tick"));
  clock.advance(5 * MINUTE_MS);
  assert.deepEqual(rung, [
    ["first", 1],
    ["armed on the way", 2],
    ["third", 3],
    // At 2 as well, but it slept then.
    ["tick", 4],
  ]);
  assert.equal(Math.round((clock.now() - startMs) / MINUTE_MS), 5);
  clock.advance(2 * MINUTE_MS);
  assert.deepEqual(rung.slice(4), [
    ["tick", 6],
    ["later", 7],
  ]);
  ticks.stop();
  clock.advance(60 * MINUTE_MS);
  assert.equal(rung.length, 6);
});

test("between jumps it runs", async () => {
  const clock = new MovedClock();
  clock.advance(90 * 24 * 60 * MINUTE_MS);
  assert.ok(Math.abs(clock.now() - clock.movedMs - Date.now()) < 1_000);
  let ticks = 0;
  // They do not keep the process alive by themselves.
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
  // A timer further away than setTimeout reaches waits all the same.
  const far = clock.after(60 * 24 * 60 * MINUTE_MS, () => assert.fail("too early"));
  await new Promise((resolve) => setImmediate(resolve));
  far.stop();
});
