import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  CloseCode,
  Feature,
  FeatureSchema,
  type HelloSchema,
  ReconnectAction,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { WireWriter } from "#platform/wire.ts";
import { type ConnectHarness, startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { RawDevice } from "../../../test/devices/raw-device.ts";
import { FEATURES } from "../socket/features.ts";
import { MAX_SERVER_FRAME_BYTES } from "../socket/frames.ts";

/** Connects a device and sends a Hello with these fields. */
async function greet(
  harness: ConnectHarness,
  userId: string,
  hello: MessageInitShape<typeof HelloSchema> = {},
): Promise<RawDevice> {
  const device = await RawDevice.open(harness.address);
  const accessToken = await tokenOf(harness, userId);
  device.send({ case: "hello", value: { accessToken, ...hello } });
  return device;
}

const tokenOf = (harness: ConnectHarness, userId: string) =>
  harness.issuer.token({ sub: userId, did: `d${userId}`, sid: `l${userId}`, dcl: 3 });

/** The value of a gauge with one label. */
async function gauge(harness: ConnectHarness, name: string): Promise<number> {
  const line = (await harness.metrics.text()).split("\n").find((one) => one.startsWith(name));
  return Number(line?.split(" ")[1]);
}

test("Welcome carries all limits, the revision, the kinds that devices may send and the features", async (t) => {
  const harness = await startConnectHarness(t);
  const device = await greet(harness, "1");
  const { limits, protocolRevision, contentKinds, features } = await device.next("welcome");
  assert.equal(limits?.maxServerFrameBytes, MAX_SERVER_FRAME_BYTES);
  const { $typeName, $unknown, ...values } = limits!;
  for (const [name, value] of Object.entries(values)) assert.ok(value > 0, name);
  assert.deepEqual([limits?.maxCursors, limits?.maxContentBytes], [200, 65_536]);
  assert.equal(limits?.maxCallsInFlight, 8);
  assert.equal(protocolRevision, 1);
  assert.deepEqual(contentKinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13]);
  assert.deepEqual(
    features,
    FeatureSchema.values.map(({ number }) => number).filter((number) => number !== 0),
  );
  assert.deepEqual(features, FEATURES);
});

test("a newer client opens a session: a later revision, unknown kinds, features and fields", async (t) => {
  const harness = await startConnectHarness(t);
  const device = await RawDevice.open(harness.address);
  const hello = {
    accessToken: await tokenOf(harness, "1"),
    clientVersion: "31.4.1-rc.2+7",
    clientName: "acme-glasses",
    protocolRevision: 9,
    contentKinds: [1, 2, 57],
    features: [Feature.TYPING, 41 as Feature],
  };
  const known = toBinary(
    ClientFrameSchema,
    create(ClientFrameSchema, { kind: { case: "hello", value: hello } }),
  );
  // Field 1 of the frame again: decoders merge messages, and this part has only unknown fields.
  const unknown = new WireWriter().string(60, "of a later revision").varint(61, 5).finish();
  const body = Buffer.concat([known.subarray(known.length - lengthOfBody(known)), unknown]);
  device.sendBytes(Uint8Array.from(new WireWriter().bytes(1, body).finish()));
  await device.next("welcome");
  // A frame of a later revision is skipped.
  device.sendBytes(Uint8Array.from(new WireWriter().string(15, "later").finish()));
  await device.roundTrip();
  assert.equal(await gauge(harness, 'lucky_sessions_by_revision{revision="later"}'), 1);
  assert.equal(await gauge(harness, 'lucky_sessions_by_kind{kind="image"}'), 1);
  assert.equal(await gauge(harness, 'lucky_sessions_by_kind{kind="tip"}'), Number.NaN);
  await device.close();
});

/** Length of the only field of a frame, whose length has one byte or two. */
function lengthOfBody(frame: Uint8Array): number {
  return frame[1]! < 0x80 ? frame.length - 2 : frame.length - 3;
}

test("sessions are counted by kind and revision while they are open; no Hello adds a label", async (t) => {
  const harness = await startConnectHarness(t);
  const all = await greet(harness, "1");
  const some = await greet(harness, "2", {
    contentKinds: [1, 2, 3, 4, 5, 64],
    protocolRevision: 1,
  });
  await all.next("welcome");
  await some.next("welcome");
  const kinds = async () =>
    Promise.all(
      ["text", "file", "tip"].map((kind) =>
        gauge(harness, `lucky_sessions_by_kind{kind="${kind}"}`),
      ),
    );
  assert.deepEqual(await kinds(), [2, 2, 1]);
  assert.equal(await gauge(harness, 'lucky_sessions_by_revision{revision="1"}'), 2);
  await all.close();
  while ((await gauge(harness, 'lucky_sessions_by_revision{revision="1"}')) > 1)
    await some.roundTrip();
  assert.deepEqual(await kinds(), [1, 1, 0]);
  await some.close();
  const text = await harness.metrics.text();
  assert.doesNotMatch(text, /kind="64"/);
});

test("a client that is too old gets the operator's text and address, and no session", async (t) => {
  const harness = await startConnectHarness(t, {
    config: {
      minClientVersions: ["acme-ios=2.4.0"],
      clientTooOldText: "Bitte aktualisieren: «Acme» 2.4 ".repeat(10),
      upgradeUrl: "https://example.org/update",
    },
  });
  const old = await greet(harness, "1", { clientName: "acme-ios", clientVersion: "2.3.9" });
  const kick = await old.next("kick");
  assert.equal(kick.code, CloseCode.CLIENT_TOO_OLD);
  assert.equal(kick.action, ReconnectAction.STAY_CLOSED);
  assert.match(kick.text, /^Bitte aktualisieren/);
  assert.equal(kick.upgradeUrl, "https://example.org/update");
  const { code, reason } = await old.closed;
  assert.deepEqual(
    [code, reason],
    [CloseCode.CLIENT_TOO_OLD, "the client's version must be at least 2.4.0"],
  );
  assert.equal(harness.issuer.ended.size, 0);
  await (await greet(harness, "1", { clientName: "acme-ios", clientVersion: "2.4" })).next(
    "welcome",
  );
});

test("an oversized Hello field closes with PROTOCOL_ERROR and names the field", async (t) => {
  const harness = await startConnectHarness(t);
  const device = await greet(harness, "1", { clientName: "x".repeat(65) });
  const kick = await device.next("kick");
  assert.match(kick.text, /^Hello: client_name: /);
  assert.equal(kick.action, ReconnectAction.RECONNECT);
  assert.equal((await device.closed).code, CloseCode.PROTOCOL_ERROR);
});

test("a session gets the optional frames that it listed, and the others get all", async (t) => {
  const harness = await startConnectHarness(t);
  const members = ["1", "2", "3"].map((userId) => [userId, 1n] as const);
  harness.ingress.groups.set("7", new Map(members));
  const all = await greet(harness, "1");
  const typingOnly = await greet(harness, "2", { features: [Feature.TYPING] });
  const unknownOnly = await greet(harness, "3", { features: [99 as Feature] });
  const devices = [all, typingOnly, unknownOnly];
  for (const device of devices) await device.next("welcome");

  const frameOf = (kind: MessageInitShape<typeof ServerFrameSchema>["kind"]) =>
    toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind }));
  const signals = [
    frameOf({ case: "typing", value: { conversationId: "7", userId: "9", typing: true } }),
    frameOf({ case: "receipt", value: { conversationId: "7", userId: "9" } }),
  ].map((frame) => ({ channels: ["g:7"], frame, exceptUserId: "0" }));
  const notice = {
    channels: ["u:1", "u:2", "u:3"],
    frame: frameOf({ case: "securityNotice", value: { noticeId: "1" } }),
    exceptUserId: "0",
  };
  const envelope = create(EnvelopeSchema, { signals: [...signals, notice] });
  await harness.bus.publish(
    "connect-0",
    toBinary(EnvelopeSchema, envelope),
    AbortSignal.timeout(5_000),
  );
  await all.next("securityNotice");
  for (const device of devices) await device.roundTrip();
  const seen = devices.map((device) => [
    device.seen("typing").length,
    device.seen("receipt").length,
    device.seen("securityNotice").length,
  ]);
  assert.deepEqual(seen, [
    [1, 1, 0],
    [1, 0, 0],
    [0, 0, 0],
  ]);
});
