import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { KeyMaker } from "./key.ts";

test("keys are UUIDv7 and only grow, within a millisecond and when the clock steps back", () => {
  const clock = new ManualClock();
  const keys = new KeyMaker(() => clock.now());
  const made: string[] = [];
  for (let n = 0; n < 10_000; n++) made.push(keys.next());
  clock.advance(-5_000);
  made.push(keys.next());
  clock.advance(60_000);
  made.push(keys.next());
  for (const key of made) {
    assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  assert.deepEqual([...made].sort(), made);
  assert.equal(new Set(made).size, made.length);
});
