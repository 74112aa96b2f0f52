import assert from "node:assert/strict";
import { test } from "node:test";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import type { RawDevice } from "../../../test/devices/raw-device.ts";

const MINUTE = 60_000;

/** A connect instance that stores delivered cursors of group 70 once a minute. */
async function setUp(
  t: Parameters<typeof startConnectHarness>[0],
  users: readonly string[],
  acknowledgeLingerMs = 0,
) {
  const clock = new ManualClock();
  const config = {
    acknowledgeLingerMs,
    acknowledgeGroupLingerMs: MINUTE,
    heartbeatIntervalMs: 300_000,
  };
  const harness = await startConnectHarness(t, { clock, config });
  for (const userId of users) await harness.ingress.member("70", userId, true);
  return { clock, harness };
}

const acknowledge = (
  device: RawDevice,
  cursor: { deliveredSequence?: bigint; readSequence?: bigint; epoch?: bigint },
  conversationId = "70",
) => device.send({ case: "acknowledge", value: { cursors: [{ conversationId, ...cursor }] } });

/** The rows that AdvanceBatch carried. */
const rowsOf = ({ ingress }: ConnectHarness) =>
  ingress.advances.map(({ userId, cursor }) => [
    userId,
    cursor!.conversationId,
    Number(cursor!.deliveredSequence),
    Number(cursor!.readSequence),
  ]);

test("a group that acknowledges a run of messages costs one row per member and minute", async (t) => {
  const users = Array.from({ length: 24 }, (_, i) => `${100 + i}`);
  const { clock, harness } = await setUp(t, users);
  // Each member has two devices.
  const devices = await Promise.all(
    users.flatMap((userId) => [harness.device(userId, "a"), harness.device(userId, "b")]),
  );
  const settled = () => Promise.all(devices.map((device) => device.roundTrip()));
  let last = 0n;
  for (let minute = 1; minute <= 3; minute += 1) {
    for (let message = 0; message < 10; message += 1) {
      last += 1n;
      for (const device of devices) acknowledge(device, { deliveredSequence: last });
      await settled();
    }
    clock.advance(MINUTE);
    await settled();
    assert.equal(harness.ingress.advances.length, minute * users.length);
  }
  const ofLastMinute = rowsOf(harness).slice(-users.length).sort();
  assert.deepEqual(
    ofLastMinute,
    users.map((userId) => [userId, "70", 30, 0]),
  );
});

test("a read cursor is stored at once, with the held delivered cursor in the same row", async (t) => {
  const { clock, harness } = await setUp(t, ["1"]);
  const device = await harness.device("1");
  acknowledge(device, { deliveredSequence: 6n });
  await device.roundTrip();
  assert.deepEqual(rowsOf(harness), []);
  acknowledge(device, { readSequence: 4n });
  await device.roundTrip();
  await device.roundTrip();
  assert.deepEqual(rowsOf(harness), [["1", "70", 6, 4]]);
  clock.advance(MINUTE);
  await device.roundTrip();
  assert.equal(rowsOf(harness).length, 1);
});

test("cursors of different epochs are not joined, neither queued nor held", async (t) => {
  const { clock, harness } = await setUp(t, ["1"], 100);
  const device = await harness.device("1");
  const direct = "1000002";
  acknowledge(device, { deliveredSequence: 9n, epoch: 1n }, direct);
  acknowledge(device, { deliveredSequence: 2n, epoch: 2n }, direct);
  acknowledge(device, { readSequence: 1n, epoch: 2n }, direct);
  acknowledge(device, { deliveredSequence: 8n, epoch: 1n });
  acknowledge(device, { deliveredSequence: 3n, epoch: 2n });
  acknowledge(device, { deliveredSequence: 4n, epoch: 2n });
  await device.roundTrip();
  clock.advance(100);
  await device.roundTrip();
  const epochs = ({ ingress }: ConnectHarness) =>
    ingress.advances.splice(0).map(({ cursor }) => {
      const { conversationId, deliveredSequence, readSequence, epoch } = cursor!;
      return [conversationId, epoch, deliveredSequence, readSequence];
    });
  assert.deepEqual(epochs(harness), [
    [direct, 1n, 9n, 0n],
    [direct, 2n, 2n, 1n],
    ["70", 1n, 8n, 0n],
  ]);
  // A read cursor takes the held delivered cursor of its own epoch only.
  acknowledge(device, { readSequence: 1n, epoch: 3n });
  await device.roundTrip();
  clock.advance(100);
  await device.roundTrip();
  assert.deepEqual(epochs(harness), [["70", 3n, 0n, 1n]]);
  acknowledge(device, { readSequence: 2n, epoch: 2n });
  await device.roundTrip();
  clock.advance(100);
  await device.roundTrip();
  assert.deepEqual(epochs(harness), [["70", 2n, 4n, 2n]]);
  acknowledge(device, { readSequence: 2n, epoch: -1n });
  assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
});

test("cursors of direct conversations are not held", async (t) => {
  const { harness } = await setUp(t, ["1"]);
  const device = await harness.device("1");
  acknowledge(device, { deliveredSequence: 3n }, "1000002");
  await device.roundTrip();
  await device.roundTrip();
  assert.deepEqual(rowsOf(harness), [["1", "1000002", 3, 0]]);
});

test("the cursors of a user are stored when the user's last session here ends", async (t) => {
  const { harness } = await setUp(t, ["1", "2"]);
  const [phone, laptop, other] = await Promise.all([
    harness.device("1", "phone"),
    harness.device("1", "laptop"),
    harness.device("2"),
  ]);
  acknowledge(phone, { deliveredSequence: 5n });
  acknowledge(other, { deliveredSequence: 5n });
  await phone.roundTrip();
  await phone.close();
  await laptop.roundTrip();
  assert.deepEqual(rowsOf(harness), []);
  await laptop.close();
  await other.roundTrip();
  await other.roundTrip();
  assert.deepEqual(rowsOf(harness), [["1", "70", 5, 0]]);
});

test("an instance that stops stores all held cursors", async (t) => {
  const users = Array.from({ length: 8 }, (_, i) => `${i + 1}`);
  const { harness } = await setUp(t, users);
  for (const userId of users) {
    const device = await harness.device(userId);
    acknowledge(device, { deliveredSequence: 9n });
    await device.roundTrip();
  }
  await harness.stop();
  assert.deepEqual(
    rowsOf(harness).sort(),
    users.map((userId) => [userId, "70", 9, 0]),
  );
});

test("cursors survive an outage of server of five minutes", async (t) => {
  const { clock, harness } = await setUp(t, ["1"]);
  const device = await harness.device("1");
  harness.ingress.down = true;
  acknowledge(device, { readSequence: 4n });
  for (let second = 0; second < 300; second += 1) {
    await device.roundTrip();
    clock.advance(1_000);
  }
  assert.deepEqual(rowsOf(harness), []);
  harness.ingress.down = false;
  for (let second = 0; second < 20; second += 1) {
    clock.advance(1_000);
    await device.roundTrip();
  }
  assert.deepEqual(rowsOf(harness), [["1", "70", 0, 4]]);
  assert.match(await harness.metrics.text(), /lucky_acknowledgements_dropped_total 0/);
});

test("a cursor that server cannot store blocks neither other cursors of its batch nor later ones", async (t) => {
  const { clock, harness } = await setUp(t, ["1", "2"], 100);
  harness.ingress.badUserId = "1";
  const [bad, good] = await Promise.all([harness.device("1"), harness.device("2")]);
  const stored = async (sequence: number) => {
    clock.advance(100);
    while (rowsOf(harness).at(-1)?.[3] !== sequence) await good.roundTrip();
  };
  acknowledge(bad, { readSequence: 4n });
  acknowledge(good, { readSequence: 4n });
  await Promise.all([bad.roundTrip(), good.roundTrip()]);
  await stored(4);
  acknowledge(good, { readSequence: 5n });
  await good.roundTrip();
  await stored(5);
  assert.deepEqual(rowsOf(harness), [
    ["2", "70", 0, 4],
    ["2", "70", 0, 5],
  ]);
  assert.match(await harness.metrics.text(), /lucky_acknowledgements_dropped_total 1/);
});

/** Resolves when the instance has called AdvanceBatch `calls` times in total. */
async function advanced({ ingress }: ConnectHarness, device: RawDevice, calls: number) {
  while (ingress.advanceCalls < calls) await device.roundTrip();
  // The answer arrives in the next turn of the event loop.
  await device.roundTrip();
}

for (const hanging of [false, true])
  test(`cursors of a database that ${hanging ? "hangs" : "is away"} do not delay the others, and are stored after an outage of ten minutes`, async (t) => {
    const { clock, harness } = await setUp(t, ["1"]);
    const { ingress } = harness;
    ingress.awayConversationId = "1000002";
    ingress.hanging = hanging;
    const device = await harness.device("1");
    acknowledge(device, { readSequence: 4n }, "1000002");
    await advanced(harness, device, 1);
    acknowledge(device, { readSequence: 5n });
    await advanced(harness, device, 2);
    assert.deepEqual(rowsOf(harness), [["1", "70", 0, 5]]);
    const pass = async (seconds: number) => {
      for (let second = 0; second < seconds; second += 1) {
        clock.advance(1_000);
        await device.roundTrip();
        await device.roundTrip();
      }
    };
    await pass(600);
    // After 2, 4 and 8 s, and then every 15 s, or half of it.
    const { advanceCalls } = ingress;
    assert.ok(advanceCalls > 35 && advanceCalls < 90, `${advanceCalls} calls`);
    assert.deepEqual(rowsOf(harness), [["1", "70", 0, 5]]);
    ingress.awayConversationId = "";
    await pass(16);
    assert.deepEqual(rowsOf(harness).at(-1), ["1", "1000002", 0, 4]);
    assert.match(await harness.metrics.text(), /lucky_acknowledgements_dropped_total 0/);
  });

test("cursors that wait for a retry are stored when the instance stops", async (t) => {
  const { clock, harness } = await setUp(t, ["1", "2"]);
  const { ingress } = harness;
  const [ana, ben] = [await harness.device("1"), await harness.device("2")];
  ingress.awayConversationId = "1000002";
  acknowledge(ana, { readSequence: 4n }, "1000002");
  await advanced(harness, ana, 1);
  acknowledge(ben, { readSequence: 3n }, "1000002");
  await advanced(harness, ben, 2);
  ingress.awayConversationId = "";
  clock.advance(900);
  await ana.roundTrip();
  assert.deepEqual(rowsOf(harness), []);
  await harness.stop();
  assert.deepEqual(rowsOf(harness).sort(), [
    ["1", "1000002", 0, 4],
    ["2", "1000002", 0, 3],
  ]);
});

test("cursors whose database is still away when the instance stops are dropped and counted", async (t) => {
  const { harness } = await setUp(t, ["1"]);
  harness.ingress.awayConversationId = "1000002";
  const device = await harness.device("1");
  acknowledge(device, { readSequence: 4n }, "1000002");
  await advanced(harness, device, 1);
  await harness.stop();
  assert.equal(harness.ingress.advanceCalls, 2);
  assert.match(await harness.metrics.text(), /lucky_acknowledgements_dropped_total 1/);
});

test("cursors that server cannot take when the instance stops are dropped and counted", async (t) => {
  const { harness } = await setUp(t, ["1"]);
  const device = await harness.device("1");
  harness.ingress.down = true;
  acknowledge(device, { readSequence: 4n });
  await device.roundTrip();
  await harness.stop();
  assert.match(await harness.metrics.text(), /lucky_acknowledgements_dropped_total 1/);
});
