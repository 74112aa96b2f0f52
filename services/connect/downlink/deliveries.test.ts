import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { DeliveryState } from "#gen/lucky/operations/v1/operations_pb.js";
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

test("operators see the state of a delivery to each session: not sent, sent, behind, acknowledged", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const ana = await harness.device("1", "phone");
  const ben = await harness.device("2", "tablet");
  ana.send(toUser("2", "m1"));
  const { entries } = await ben.next("deliver");
  const { conversationId } = entries[0]!;
  const states = (sequence: number) => {
    const { sessions } = harness.deliveries({ conversationId, sequence, userIds: ["1", "2", "3"] });
    return new Map(
      sessions.map(({ userId, deviceId, state }) => [
        `${userId} ${deviceId}`,
        DeliveryState[state],
      ]),
    );
  };
  assert.equal(states(1).get("2 tablet"), "SENT");
  assert.equal(states(2).get("2 tablet"), "NOT_SENT");
  for (const ms of [10_000, 20_000, 40_000]) {
    clock.advance(ms);
    await ben.next("deliver");
  }
  clock.advance(80_000);
  await ben.next("syncRequired");
  assert.equal(states(1).get("2 tablet"), "BEHIND");
  const cursors = [{ conversationId, deliveredSequence: 1n, readSequence: 0n }];
  ben.send({ case: "acknowledge", value: { cursors } });
  await ben.roundTrip();
  const { sessions, sessionCount } = harness.deliveries({
    ...{ conversationId, sequence: 1 },
    userIds: ["2"],
  });
  assert.deepEqual([sessionCount, sessions[0]?.acknowledgedSequence], [1, 1n]);
  assert.equal(states(1).get("2 tablet"), "ACKNOWLEDGED");
  const cai = await harness.device("3");
  assert.equal(states(1).get("3 d"), undefined);
  assert.ok([...states(1)].some(([who, state]) => who.startsWith("3 ") && state === "UNKNOWN"));
  await cai.close();
});

test("operators see that a group's entry was sent to all sessions of its members", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  await harness.ingress.member("77", "1", true);
  await harness.ingress.member("77", "2", true);
  const ana = await harness.device("1");
  const ben = await harness.device("2");
  const target = { case: "conversationId", value: "77" };
  ana.send({ case: "send", value: { target, clientMessageId: "m1", content: text("m1") } });
  await ben.next("deliver");
  const { sessions } = harness.deliveries({ conversationId: "77", sequence: 1, userIds: [] });
  assert.deepEqual(new Set(sessions.map(({ userId }) => userId)), new Set(["1", "2"]));
  const toBen = sessions.find(({ userId }) => userId === "2");
  assert.equal(DeliveryState[toBen!.state], "SENT");
});

test("dead letters are counted, and stored with their conversations but without content", async (t) => {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock });
  const deliveries = [
    {
      channels: ["u:2"],
      conversationId: "9",
      lastSequence: 4n,
      entries: [new Uint8Array(3), new Uint8Array(3)],
    },
  ];
  const refused = toBinary(EnvelopeSchema, create(EnvelopeSchema, { deliveries, kicks: [] }));
  const other = await harness.bus.consume("connect-9", async () => {
    throw new Error("refused");
  });
  t.after(() => other.close());
  const signal = AbortSignal.timeout(10_000);
  await harness.bus.publish("connect-9", refused, signal);
  await harness.bus.publish("connect-9", Uint8Array.of(255), signal);
  while (harness.ingress.deadLetters.length < 2) {
    clock.advance(200);
    await new Promise(setImmediate);
  }
  const [first, second] = harness.ingress.deadLetters;
  assert.deepEqual(
    [first?.queue, first?.reason, first?.bytes],
    ["connect-9", "rejected", refused.length],
  );
  const [range] = first!.ranges;
  assert.deepEqual(
    [range?.conversationId, range?.firstSequence, range?.lastSequence],
    ["9", 3n, 4n],
  );
  assert.deepEqual([second?.conversationCount, second?.bytes], [0, 1], "a malformed envelope");
  assert.match(
    await harness.metrics.text(),
    /lucky_dead_letters_total\{queue="connect-9",reason="rejected"\} 2/,
  );
});
