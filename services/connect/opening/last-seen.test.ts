import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";

/** Waits until auth was called `count` times. */
async function calls(harness: { seenBatches: readonly unknown[][] }, count: number): Promise<void> {
  while (harness.seenBatches.length < count) await new Promise(setImmediate);
}

test("auth gets a report when a session opens, every few minutes, and when it ends, but not per heartbeat", async (t) => {
  const clock = new ManualClock();
  const config = { heartbeatIntervalMs: 60_000, lastSeenMs: 300_000, lastSeenLingerMs: 0 };
  const harness = await startConnectHarness(t, { clock, config });
  const openedMs = clock.now();
  const device = await harness.device("1", "a");
  await calls(harness, 1);
  for (let minute = 1; minute <= 11; minute += 1) {
    clock.advance(60_000);
    await device.roundTrip();
  }
  await calls(harness, 3);
  await device.close();
  await calls(harness, 4);
  assert.deepEqual(
    harness.seenBatches.map((seen) => seen.map((one) => [one.loginId, one.seenAtMs - openedMs])),
    [[["l1-a", 0]], [["l1-a", 300_000]], [["l1-a", 600_000]], [["l1-a", 660_000]]],
  );
  Object.assign(harness.config, { lastSeenMs: 60_000 });
  const other = await harness.device("2", "b");
  await calls(harness, 5);
  clock.advance(60_000);
  await other.roundTrip();
  await calls(harness, 6);
});

test("reports that linger together go in one call, once per login, and are flushed before the instance stops", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { lastSeenLingerMs: 1_000 } });
  const ana = await harness.device("1", "a");
  const ben = await harness.device("2", "b");
  await ana.close();
  await ben.roundTrip();
  assert.equal(harness.seenBatches.length, 0);
  clock.advance(1_000);
  await calls(harness, 1);
  const loginIds = (at: number) => harness.seenBatches[at]!.map(({ loginId }) => loginId).sort();
  assert.deepEqual(loginIds(0), ["l1-a", "l2-b"]);
  clock.advance(5_000);
  await ben.close();
  await harness.stop();
  assert.deepEqual(loginIds(1), ["l2-b"]);
});
