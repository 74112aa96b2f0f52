import assert from "node:assert/strict";
import { test } from "node:test";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CursorRetries } from "./cursor-retries.ts";

test("cursors above the limit are dropped and counted, and the others are retried", () => {
  const clock = new ManualClock();
  const retried: string[] = [];
  const dropped: number[] = [];
  const retries = new CursorRetries<{ id: string; failures: number }>({
    clock,
    log: quiet,
    limit: 2,
    retry: ({ id }) => void retried.push(id),
    dropped: (count) => void dropped.push(count),
  });
  retries.add([{ id: "a", failures: 0 }]);
  retries.add(["b", "c", "d"].map((id) => ({ id, failures: 0 })));
  assert.deepEqual([retries.count, dropped], [2, [2]]);
  clock.advance(999);
  assert.deepEqual(retried, []);
  clock.advance(1_001);
  assert.deepEqual(retried.sort(), ["a", "b"]);
  assert.deepEqual([retries.count, clock.waiting], [0, 0]);
});

test("a cursor that always fails is dropped after about an hour", () => {
  const clock = new ManualClock();
  const startMs = clock.elapsed();
  let retriedMs = 0;
  const dropped: number[] = [];
  const retries = new CursorRetries<{ failures: number }>({
    clock,
    log: quiet,
    limit: 1,
    retry: (item) => {
      retriedMs = clock.elapsed() - startMs;
      retries.add([item]);
    },
    dropped: (count) => void dropped.push(count),
  });
  retries.add([{ failures: 0 }]);
  clock.advance(2 * 3_600_000);
  assert.deepEqual([retries.count, clock.waiting, dropped], [0, 0, [1]]);
  const minutes = retriedMs / 60_000;
  assert.ok(minutes > 39 && minutes < 81, `dropped after ${minutes} minutes`);
});
