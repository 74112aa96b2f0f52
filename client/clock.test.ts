import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "./clock.ts";

const DAY_MS = 86_400_000;

test("a timer of sixty days waits, although setTimeout takes at most 24", (t) => {
  const waiting: { callback: () => void; ms: number }[] = [];
  t.mock.method(globalThis, "setTimeout", (callback: () => void, ms: number) => {
    waiting.push({ callback, ms });
  });
  let rings = 0;
  systemClock.after(60 * DAY_MS, () => {
    rings++;
  });
  let waitedMs = 0;
  while (rings === 0) {
    const { callback, ms } = waiting.shift()!;
    assert.ok(ms < 2 ** 31, `${ms}`);
    waitedMs += ms;
    callback();
  }
  assert.equal(waitedMs, 60 * DAY_MS);
  assert.equal(waiting.length, 0);
});
