import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { text, toUser } from "../uplink/sends.fixture.ts";

test("an unacknowledged entry is redelivered, then the device is behind until it acknowledges", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  ana.send(toUser("2", "m1"));
  const { entries } = await ben.next("deliver");
  const { conversationId } = entries[0]!;
  for (const ms of [10_000, 20_000, 40_000]) {
    clock.advance(ms);
    const again = await ben.next("deliver");
    assert.deepEqual(again.entries, entries);
  }
  clock.advance(80_000);
  const sync = await ben.next("syncRequired");
  assert.deepEqual([sync.conversationId, sync.lastSequence], [conversationId, 1n]);
  await ben.roundTrip();
  const [reported] = harness.ingress.advances;
  assert.deepEqual([reported?.userId, reported?.undeliveredSequence], ["2", 1n]);
  assert.match(await harness.metrics.text(), /lucky_sessions_behind_total 1/);

  clock.advance(200_000);
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 0, "a device that is behind gets no redelivery");
  const cursors = [{ conversationId, deliveredSequence: 1n, readSequence: 0n }];
  ben.send({ case: "acknowledge", value: { cursors } });
  await ben.roundTrip();
  ana.send(toUser("2", "m2"));
  assert.equal((await ben.next("deliver")).entries[0]!.sequence, 2n);
  clock.advance(10_000);
  assert.equal((await ben.next("deliver")).entries[0]!.sequence, 2n, "redeliveries resume");
});

test("an unacknowledged entry is redelivered in time when the clock is set back", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  ana.send(toUser("2", "m1"));
  const { entries } = await ben.next("deliver");
  clock.advance(10_000);
  assert.deepEqual((await ben.next("deliver")).entries, entries);
  clock.step(-3_600_000);
  clock.advance(20_000);
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 1);
});

test("entries acknowledged in time are not redelivered, and cursors are merged", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  for (const id of ["m1", "m2", "m3"]) ana.send(toUser("2", id));
  let last = 0n;
  let conversationId = "";
  while (last < 3n) {
    const { entries } = await ben.next("deliver");
    last = entries.at(-1)!.sequence;
    conversationId = entries[0]!.conversationId;
  }
  const cursors = [{ conversationId, deliveredSequence: 3n, readSequence: 2n }];
  ben.send({ case: "acknowledge", value: { cursors } });
  await ben.roundTrip();
  clock.advance(10_000);
  await ben.roundTrip();
  await ana.roundTrip();
  assert.equal(ben.seen("deliver").length, 0);
  assert.equal(ana.seen("deliver").length, 0);
  const cursor = harness.ingress.advances.at(-1)!.cursor!;
  assert.deepEqual([cursor.deliveredSequence, cursor.readSequence], [3n, 2n]);
});

test("an acknowledgement out of bounds ends its session and moves no cursor", async (t) => {
  const harness = await startConnectHarness(t);
  for (const cursors of [
    [],
    [{ conversationId: "0", deliveredSequence: 1n }],
    [{ conversationId: "-7", deliveredSequence: 1n }],
    [{ conversationId: "7", deliveredSequence: -1n }],
    [{ conversationId: "7", readSequence: 2n ** 53n }],
  ]) {
    const device = await harness.device("1");
    device.send({ case: "acknowledge", value: { cursors } });
    assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
  }
  assert.deepEqual(harness.ingress.advances, []);
});

test("the sweep finds a delivery that the bus lost", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  harness.ingress.dropPublishes = true;
  ana.send(toUser("2", "m1"));
  await ana.next("sendResults");
  clock.advance(25_000);
  await ben.roundTrip();
  clock.advance(3_000);
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
});

test("a group's entries reach its members; a new member receives them at once, a removed member no longer does", async (t) => {
  const harness = await startConnectHarness(t);
  await harness.ingress.member("77", "1", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  const toGroup = (clientMessageId: string) => ({
    case: "send" as const,
    value: {
      target: { case: "conversationId", value: "77" },
      clientMessageId,
      content: text("hi"),
    },
  });
  await harness.ingress.member("77", "2", true);
  await ben.roundTrip();
  ana.send(toGroup("m1"));
  assert.equal((await ben.next("deliver")).entries[0]!.clientMessageId, "m1");
  await harness.ingress.member("77", "2", false);
  ana.send(toGroup("m2"));
  await ana.next("sendResults", ({ results }) => results[0]!.clientMessageId === "m2");
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 0);
});
