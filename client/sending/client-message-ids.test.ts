import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { ClientMessageIds } from "./client-message-ids.ts";

test("ids are UUIDv7 and only grow, within a millisecond and when the clock steps back", () => {
  const clock = new ManualClock();
  const ids = new ClientMessageIds(() => clock.now());
  const made: string[] = [];
  for (let n = 0; n < 10_000; n++) made.push(ids.next());
  clock.step(-5_000);
  made.push(ids.next());
  clock.advance(60_000);
  made.push(ids.next());
  for (const id of made) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  assert.deepEqual([...made].sort(), made);
  assert.equal(new Set(made).size, made.length);
});
