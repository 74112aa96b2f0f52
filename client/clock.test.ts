import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "./clock.ts";

const DAY_MS = 86_400_000;

test("a timer of sixty days waits, although setTimeout takes at most 24", () => {
  const waiting: { callback: () => void; ms: number }[] = [];
  const { setTimeout } = globalThis;
  // Not a mock of node:test: this test also runs in a browser.
  const keep = (callback: () => void, ms: number) => void waiting.push({ callback, ms });
  globalThis.setTimeout = keep as unknown as typeof setTimeout;
  try {
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
  } finally {
    globalThis.setTimeout = setTimeout;
  }
});
