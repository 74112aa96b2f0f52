import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startStand } from "../../../test/connect/stand.ts";

/** Waits until auth was told so many times. */
async function calls(stand: { seenBatches: readonly unknown[][] }, count: number): Promise<void> {
  while (stand.seenBatches.length < count) await new Promise(setImmediate);
}

test("auth is told when a session opens, every few minutes, and when it ends; never by heartbeat", async (t) => {
  const clock = new ManualClock();
  const config = { heartbeatIntervalMs: 60_000, lastSeenMs: 300_000, lastSeenLingerMs: 0 };
  const stand = await startStand(t, { clock, config });
  const openedMs = clock.now();
  const device = await stand.device("1", "a");
  await calls(stand, 1);
  for (let minute = 1; minute <= 11; minute += 1) {
    clock.advance(60_000);
    await device.roundTrip();
  }
  await calls(stand, 3);
  await device.close();
  await calls(stand, 4);
  assert.deepEqual(
    stand.seenBatches.map((seen) => seen.map((one) => [one.loginId, one.seenAtMs - openedMs])),
    [[["l1-a", 0]], [["l1-a", 300_000]], [["l1-a", 600_000]], [["l1-a", 660_000]]],
  );
});

test("what happens in one moment is told in one call, each login once, and before the instance stops", async (t) => {
  const clock = new ManualClock();
  const stand = await startStand(t, { clock, config: { lastSeenLingerMs: 1_000 } });
  const ana = await stand.device("1", "a");
  const ben = await stand.device("2", "b");
  await ana.close();
  await ben.roundTrip();
  assert.equal(stand.seenBatches.length, 0);
  clock.advance(1_000);
  await calls(stand, 1);
  const loginIds = (at: number) => stand.seenBatches[at]!.map(({ loginId }) => loginId).sort();
  assert.deepEqual(loginIds(0), ["l1-a", "l2-b"]);
  clock.advance(5_000);
  await ben.close();
  await stand.stop();
  assert.deepEqual(loginIds(1), ["l2-b"]);
});
