import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type CheckResult, Rechecks } from "./rechecks.ts";

/** Rechecks in batches of two; the checks fail while `away` is true. */
function setUp(users: readonly string[]) {
  const clock = new ManualClock();
  const state = { away: true };
  const checked: string[] = [];
  const rechecks = new Rechecks({
    clock,
    log: quiet,
    batchCount: 2,
    check: async (userId): Promise<CheckResult> => {
      checked.push(userId);
      if (!state.away) return "complete";
      rechecks.add(userId, new Error("away"));
      return "failed";
    },
  });
  for (const userId of users) rechecks.add(userId, new Error("away"));
  /** Moves the clock to the end of the back-off; returns the users that were checked after it. */
  const round = async (backoffMs: number) => {
    checked.length = 0;
    clock.advance(backoffMs / 2 - 1);
    assert.deepEqual(checked, [], "too early");
    clock.advance(backoffMs / 2 + 1);
    await turn();
    return [...checked];
  };
  return { clock, state, rechecks, round, checked };
}

test("an outage costs one batch of users at a time, with a back-off that grows to 30 seconds", async () => {
  const { round } = setUp(["1", "2", "3", "4", "5"]);
  assert.deepEqual(await round(1_000), ["1", "2"]);
  assert.deepEqual(await round(2_000), ["3", "4"]);
  assert.deepEqual(await round(4_000), ["5", "1"]);
  for (const backoffMs of [8_000, 16_000, 30_000, 30_000])
    assert.equal((await round(backoffMs)).length, 2);
});

test("after an outage all users are checked at once, and the back-off starts again", async () => {
  const { clock, state, rechecks, round } = setUp(["1", "2", "3", "4", "5"]);
  for (const backoffMs of [1_000, 2_000, 4_000]) await round(backoffMs);
  state.away = false;
  assert.deepEqual(await round(8_000), ["2", "3", "4", "5", "1"]);
  assert.equal(clock.waiting, 0);
  rechecks.add("6", new Error("away"));
  assert.deepEqual(await round(1_000), ["6"]);
});

test("a user whose check is complete meanwhile is not checked again", async () => {
  const { rechecks, round } = setUp(["1", "2"]);
  rechecks.delete("1");
  assert.deepEqual(await round(1_000), ["2"]);
});

test("closing stops the checks", () => {
  const { clock, rechecks } = setUp(["1"]);
  rechecks.close();
  rechecks.add("2", new Error("away"));
  assert.equal(clock.waiting, 0);
});
