import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { WireError } from "#platform/wire.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { RawDevice } from "../../../test/devices/raw-device.ts";
import { fieldsOf } from "./frame-fields.ts";
import { toUser } from "./sends.fixture.ts";

/** One connect instance of this file. Its clock stands still, so no budget refills by itself. */
const clock = new ManualClock();
const stand = { after: (close: () => Promise<void>) => stops.push(close) };
const stops: (() => Promise<void>)[] = [];
const config = { framesPerSecond: 10, framesBurst: 60 };
let harness: ConnectHarness;
test.before(async () => {
  harness = await startConnectHarness(stand, { clock, config });
});
test.after(async () => {
  for (const stop of stops.reverse()) await stop();
});

const cursors = (count: number) =>
  Array.from({ length: count }, (_, at) => ({
    conversationId: String(1_000_000 + at),
    deliveredSequence: 1n,
    readSequence: 1n,
  }));
const acknowledge = (device: RawDevice, count: number) =>
  device.send({ case: "acknowledge", value: { cursors: cursors(count) } });

/** Bytes of `count` unknown empty fields, number 15. */
function unknownFields(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2 * count);
  for (let at = 0; at < bytes.length; at += 2) bytes[at] = 0x7a;
  return bytes;
}

test("a frame costs by its fields, not once", async () => {
  const light = await harness.device("1");
  for (let n = 0; n < 40; n += 1) acknowledge(light, 1);
  await light.roundTrip();
  const heavy = await harness.device("2");
  // Hello, two frames of 1 + 20 and a heartbeat take 44 of 60.
  acknowledge(heavy, 200);
  acknowledge(heavy, 200);
  await heavy.roundTrip();
  acknowledge(heavy, 200);
  assert.equal((await heavy.closed).code, CloseCode.RATE_LIMITED);
  await light.roundTrip();
});

test("sessions of one user share one budget, and a reconnect does not refill it", async () => {
  const [first, second] = [await harness.device("3", "a"), await harness.device("3", "b")];
  const other = await harness.device("4");
  for (let n = 0; n < 40; n += 1) first.send({ case: "heartbeat", value: {} });
  await first.roundTrip();
  for (let n = 0; n < 40; n += 1) second.send({ case: "heartbeat", value: {} });
  assert.equal((await second.closed).code, CloseCode.RATE_LIMITED);
  await first.close();
  const again = await harness.device("3", "b");
  for (let n = 0; n < 40; n += 1) again.send({ case: "heartbeat", value: {} });
  assert.equal((await again.closed).code, CloseCode.RATE_LIMITED);
  await other.roundTrip();
  clock.advance(6_000);
  const later = await harness.device("3", "b");
  for (let n = 0; n < 40; n += 1) later.send({ case: "heartbeat", value: {} });
  await later.roundTrip();
});

test("a frame of too many fields ends the session before it is decoded, also before Hello", async () => {
  const device = await harness.device("5");
  const frame = toBinary(ClientFrameSchema, create(ClientFrameSchema, {}));
  const body = unknownFields(2_001);
  const wrapped = (kind: number) =>
    Uint8Array.from([(kind << 3) | 2, (body.length & 0x7f) | 0x80, body.length >> 7, ...body]);
  device.sendBytes(Uint8Array.from([...frame, ...wrapped(3)]));
  const closed = await device.closed;
  assert.equal(closed.code, CloseCode.PROTOCOL_ERROR);
  for (const bytes of [wrapped(1), Uint8Array.from([0x0a, 0, ...body])]) {
    const stranger = await RawDevice.open(harness.address);
    stranger.sendBytes(bytes);
    assert.equal((await stranger.closed).code, CloseCode.PROTOCOL_ERROR);
  }
});

test("fields behind a group, which decoders skip, do not escape the count", async () => {
  const device = await harness.device("7");
  const request = create(AcknowledgeRequestSchema, { cursors: cursors(1) });
  const valid = toBinary(AcknowledgeRequestSchema, request);
  const body = Uint8Array.from([0x7b, 0x7c, ...unknownFields(2_001), ...valid]);
  device.sendBytes(Uint8Array.from([0x1a, (body.length & 0x7f) | 0x80, body.length >> 7, ...body]));
  // A frame that is decoded leaves the session open, with an answer to this heartbeat.
  const end = await Promise.race([device.closed, device.roundTrip().then(() => undefined)]);
  assert.equal(end?.code, CloseCode.PROTOCOL_ERROR);
});

test("a malformed send is refused with a result, and costs as much as the largest", async () => {
  assert.equal(fieldsOf("send", new Uint8Array(300)), 2_000);
  const malformed = new Uint8Array(300);
  assert.throws(() => fieldsOf("acknowledge", malformed), WireError);
  const device = await harness.device("8");
  const frame = Uint8Array.from([0x12, (malformed.length & 0x7f) | 0x80, 2, ...malformed]);
  device.sendBytes(frame);
  const { results } = await device.next("sendResults");
  assert.equal(results.length, 1);
});

test("a send of too many fields is refused with a result, and costs by them", async () => {
  const device = await harness.device("6");
  const send = { case: "send" as const, value: toUser("2", "m1").value };
  const bytes = toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind: send as never }));
  assert.ok(bytes.length < 100);
  const body = Uint8Array.from([...bytes.subarray(2), ...unknownFields(2_000)]);
  const length = [(body.length & 0x7f) | 0x80, body.length >> 7];
  const frame = Uint8Array.from([0x12, ...length, ...body]);
  device.sendBytes(frame);
  const { results } = await device.next("sendResults");
  assert.equal(results.length, 1);
  device.sendBytes(frame);
  assert.equal((await device.closed).code, CloseCode.RATE_LIMITED);
});

test("limits of frames apply to sessions that open after a change, other live limits apply at once", async () => {
  const before = await harness.device("9");
  const { framesBurst, framesPerSecond, maxSessions, maxSendsInFlight } = harness.config;
  Object.assign(harness.config, { framesBurst: 20, framesPerSecond: 5, maxSendsInFlight: 3 });
  const after = await RawDevice.open(harness.address);
  const token = await harness.issuer.token({ sub: "10", did: "d10", sid: "l10" });
  after.send({ case: "hello", value: { accessToken: token } });
  const { limits } = await after.next("welcome");
  assert.deepEqual(
    [limits?.framesBurst, limits?.framesPerSecond, limits?.maxSendsInFlight],
    [20, 5, 3],
  );
  for (let n = 0; n < 40; n += 1) before.send({ case: "heartbeat", value: {} });
  await before.roundTrip();
  // A frame that weighs more than a whole burst uses up the whole burst.
  acknowledge(after, 190);
  after.send({ case: "heartbeat", value: {} });
  assert.equal((await after.closed).code, CloseCode.RATE_LIMITED);
  Object.assign(harness.config, { maxSessions: 1 });
  await assert.rejects(RawDevice.open(harness.address), /no WebSocket/);
  Object.assign(harness.config, { framesBurst, framesPerSecond, maxSessions, maxSendsInFlight });
  await (await harness.device("11")).close();
});

test("small sends and heartbeats are not counted", () => {
  assert.equal(fieldsOf("send", unknownFields(128)), 0);
  assert.equal(fieldsOf("send", unknownFields(129)), 129);
  assert.equal(fieldsOf("heartbeat", unknownFields(500)), 0);
  const request = create(AcknowledgeRequestSchema, { cursors: cursors(10) });
  assert.equal(fieldsOf("acknowledge", toBinary(AcknowledgeRequestSchema, request)), 40);
});
