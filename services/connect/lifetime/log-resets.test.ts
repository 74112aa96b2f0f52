import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { createLog } from "#platform/log.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import type { RawDevice } from "../../../test/devices/raw-device.ts";
import { LogResets } from "./log-resets.ts";

const SWEEP_MS = 25_000;

test("when the log was reset every session ends with LOG_RESET, spread over some seconds", async (t) => {
  const clock = new ManualClock();
  const config = { sweepIntervalMs: SWEEP_MS, moveSpreadMs: 1_000, heartbeatIntervalMs: 300_000 };
  const harness = await startConnectHarness(t, { clock, config });
  const devices: RawDevice[] = [];
  // One after the other: sessions end in the order in which they began.
  for (let user = 1; user <= 40; user++) devices.push(await harness.device(`${user}`));
  clock.advance(SWEEP_MS);
  await devices[0]!.roundTrip();
  harness.ingress.epoch = 7n;
  clock.advance(SWEEP_MS);
  const resets = () => harness.events.filter(({ event }) => event === "log_reset");
  while (resets().length === 0) await devices.at(-1)!.roundTrip();
  assert.deepEqual(
    resets().map(({ sessions }) => sessions),
    [40],
  );
  // A device that connects now syncs the new log.
  const later = await harness.device("99");
  for (let tick = 1; tick <= 20; tick++) {
    clock.advance(50);
    const closed = devices.slice(0, tick * 2);
    for (const device of closed) assert.equal((await device.closed).code, CloseCode.LOG_RESET);
    await devices[tick * 2]?.roundTrip();
  }
  assert.equal((await devices[0]!.next("kick")).code, CloseCode.LOG_RESET);
  clock.advance(SWEEP_MS);
  await later.roundTrip();
  assert.equal(resets().length, 1);
});

test("a database that is new, or that was away, is no reset of the log", () => {
  const events: unknown[] = [];
  const write = (line: string) => void events.push(JSON.parse(line).event);
  const resets = new LogResets({
    sessions: { all: () => new Set<never>().values() },
    clock: new ManualClock(),
    log: createLog({ service: "connect", instanceId: "1", level: "info", stream: { write } }),
    config: { moveSpreadMs: 1_000 },
  });
  resets.observe([{ databaseId: "a", epoch: 1n }]);
  resets.observe([
    { databaseId: "a", epoch: 1n },
    { databaseId: "b", epoch: 5n },
  ]);
  resets.observe([{ databaseId: "b", epoch: 5n }]);
  resets.observe([{ databaseId: "a", epoch: 1n }]);
  assert.deepEqual(events, []);
  resets.observe([{ databaseId: "b", epoch: 6n }]);
  assert.deepEqual(events, ["log_reset"]);
  resets.close();
});
