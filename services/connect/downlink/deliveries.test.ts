import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { HandClock } from "../../../test/clock.ts";
import { startStand } from "../../../test/stand.ts";
import { text, toUser } from "../uplink/sends.fixture.ts";

test("an entry that is not acknowledged comes again, then the device is behind until it acknowledges", async (t) => {
  const clock = new HandClock();
  const stand = await startStand(t, { clock, config: { heartbeatIntervalMs: 300_000 } });
  const ana = await stand.device("1");
  const ben = await stand.device("2");
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
  const [reported] = stand.ingress.advances;
  assert.deepEqual([reported?.userId, reported?.undeliveredSequence], ["2", 1n]);
  assert.match(await stand.metrics.text(), /lucky_sessions_behind_total 1/);

  clock.advance(200_000);
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 0, "a device that is behind is left alone");
  const cursors = [{ conversationId, deliveredSequence: 1n, readSequence: 0n }];
  ben.send({ case: "acknowledge", value: { cursors } });
  await ben.roundTrip();
  ana.send(toUser("2", "m2"));
  assert.equal((await ben.next("deliver")).entries[0]!.sequence, 2n);
  clock.advance(10_000);
  assert.equal((await ben.next("deliver")).entries[0]!.sequence, 2n, "it is served again");
});

test("an entry that is not acknowledged comes again in time when the clock is put back", async (t) => {
  const clock = new HandClock();
  const stand = await startStand(t, { clock });
  const ana = await stand.device("1");
  const ben = await stand.device("2");
  ana.send(toUser("2", "m1"));
  const { entries } = await ben.next("deliver");
  clock.advance(10_000);
  assert.deepEqual((await ben.next("deliver")).entries, entries);
  clock.putBack(3_600_000);
  clock.advance(20_000);
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 1);
});

test("what is acknowledged in time is not delivered again, and cursors are joined", async (t) => {
  const clock = new HandClock();
  const stand = await startStand(t, { clock });
  const ana = await stand.device("1");
  const ben = await stand.device("2");
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
  const cursor = stand.ingress.advances.at(-1)!.cursor!;
  assert.deepEqual([cursor.deliveredSequence, cursor.readSequence], [3n, 2n]);
});

test("an acknowledgement out of bounds ends its session and moves no cursor", async (t) => {
  const stand = await startStand(t);
  for (const cursors of [
    [],
    [{ conversationId: "0", deliveredSequence: 1n }],
    [{ conversationId: "-7", deliveredSequence: 1n }],
    [{ conversationId: "7", deliveredSequence: -1n }],
    [{ conversationId: "7", readSequence: 2n ** 53n }],
  ]) {
    const device = await stand.device("1");
    device.send({ case: "acknowledge", value: { cursors } });
    assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
  }
  assert.deepEqual(stand.ingress.advances, []);
});

test("members of a group acknowledge at leisure, what they read at once", async (t) => {
  const clock = new HandClock();
  const config = { acknowledgeLingerMs: 200, acknowledgeGroupLingerMs: 1_000 };
  const stand = await startStand(t, { clock, config });
  await stand.ingress.member("70", "1", true);
  const device = await stand.device("1");
  const acknowledge = async (cursor: { deliveredSequence?: bigint; readSequence?: bigint }) => {
    device.send({ case: "acknowledge", value: { cursors: [{ conversationId: "70", ...cursor }] } });
    await device.roundTrip();
  };
  await acknowledge({ deliveredSequence: 5n });
  clock.advance(999);
  await device.roundTrip();
  assert.equal(stand.ingress.advances.length, 0);
  await acknowledge({ deliveredSequence: 6n });
  clock.advance(1);
  await device.roundTrip();
  assert.equal(stand.ingress.advances.at(-1)?.cursor?.deliveredSequence, 6n);
  await acknowledge({ readSequence: 6n });
  clock.advance(200);
  await device.roundTrip();
  assert.equal(stand.ingress.advances.at(-1)?.cursor?.readSequence, 6n);
});

test("a push that the bus swallowed is noticed by the sweep", async (t) => {
  const clock = new HandClock();
  const stand = await startStand(t, { clock });
  const ana = await stand.device("1");
  const ben = await stand.device("2");
  stand.ingress.swallow = true;
  ana.send(toUser("2", "m1"));
  await ana.next("sendResults");
  clock.advance(25_000);
  await ben.roundTrip();
  clock.advance(3_000);
  assert.equal((await ben.next("syncRequired")).lastSequence, 1n);
});

test("a group's entries reach its members; who is added hears them at once, who is removed no more", async (t) => {
  const stand = await startStand(t);
  await stand.ingress.member("77", "1", true);
  const ana = await stand.device("1");
  const ben = await stand.device("2");
  const toGroup = (clientMessageId: string) => ({
    case: "send" as const,
    value: {
      target: { case: "conversationId", value: "77" },
      clientMessageId,
      content: text("hi"),
    },
  });
  await stand.ingress.member("77", "2", true);
  await ben.roundTrip();
  ana.send(toGroup("m1"));
  assert.equal((await ben.next("deliver")).entries[0]!.clientMessageId, "m1");
  await stand.ingress.member("77", "2", false);
  ana.send(toGroup("m2"));
  await ana.next("sendResults", ({ results }) => results[0]!.clientMessageId === "m2");
  await ben.roundTrip();
  assert.equal(ben.seen("deliver").length, 0);
});
