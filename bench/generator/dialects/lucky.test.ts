import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import type { FrameHandler } from "./dialect.ts";
import { type MessageKey, writeKey } from "./key.ts";
import { lucky, rpcFrame } from "./lucky.ts";

const key: MessageKey = { timeUs: 1_795_449_600_123_456, user: 7, number: 42 };
const keyText = (() => {
  const bytes = Buffer.alloc(29);
  writeKey(bytes, 0, key);
  return bytes.toString("latin1");
})();

/** The ClientFrame in a WebSocket frame whose payload is `header` bytes in. */
function clientFrameIn(frame: Uint8Array) {
  const length = frame[1]! & 0x7f;
  return fromBinary(ClientFrameSchema, frame.subarray(length < 126 ? 6 : 8)).kind;
}

/** Calls that a handler receives for a ServerFrame. */
function callsOf(kind: MessageInitShape<typeof ServerFrameSchema>["kind"]): unknown[] {
  const calls: unknown[] = [];
  const device: FrameHandler = {
    key: { timeUs: 0, user: 0, number: 0 },
    stanzas: { received: 0, confirmed: 0 },
    welcome: () => calls.push("welcome"),
    accepted: () => calls.push(["accepted", { ...device.key }]),
    refused: (_bytes, _from, _to, keyed) => calls.push(["refused", keyed && { ...device.key }]),
    entry: (sequence, bytes, from, to) =>
      calls.push(["entry", sequence, bytes.toString("hex", from, to)]),
    delivered: (sequence) => calls.push(["delivered", sequence, { ...device.key }]),
    syncRequired: () => calls.push("syncRequired"),
    answered: () => calls.push("answered"),
  };
  const bytes = Buffer.from(toBinary(ServerFrameSchema, create(ServerFrameSchema, { kind })));
  // The frame has other bytes around it, as in a read buffer.
  const chunk = Buffer.concat([Buffer.alloc(3, 0xff), bytes, Buffer.alloc(3, 0xff)]);
  lucky.read(chunk, 3, 3 + bytes.length, device);
  return calls;
}

test("a message is encoded as a send of the contract, with its key", () => {
  const target = { kind: "user", id: "9007199254740993" } as const;
  const { frame, keyAt } = lucky.sendTemplate(target, "x".repeat(128));
  writeKey(frame, keyAt, key);
  const kind = clientFrameIn(frame);
  assert.equal(kind.case, "send");
  const send = kind.case === "send" ? kind.value : undefined;
  assert.deepEqual(send?.target, { case: "userId", value: "9007199254740993" });
  assert.equal(send?.clientMessageId, keyText);
  assert.equal(send?.content?.kind.value && "text" in send.content.kind.value, true);
});

test("hello, acknowledgement, heartbeat and call are frames of the contract", () => {
  const hello = clientFrameIn(lucky.hello("token"));
  assert.equal(hello.case === "hello" && hello.value.accessToken, "token");
  assert.equal(clientFrameIn(lucky.heartbeat).case, "heartbeat");
  const acknowledge = clientFrameIn(lucky.acknowledge(Buffer.from([0x96, 0x01]), 300)!);
  assert.equal(acknowledge.case, "acknowledge");
  const [cursor] = acknowledge.case === "acknowledge" ? acknowledge.value.cursors : [];
  assert.equal(cursor?.conversationId, "150");
  assert.equal(cursor?.deliveredSequence, 300n);
  const rpc = clientFrameIn(rpcFrame("a.B/C", Buffer.from([1, 2])));
  assert.equal(rpc.case === "rpc" && rpc.value.method, "a.B/C");
});

test("a delivery is read: sequence, key and conversation", () => {
  const content = { kind: { case: "text" as const, value: { text: "x".repeat(200) } } };
  const entries = [1n, 127n, 128n, 300_000n, 3_000_000_000n].map((sequence) => ({
    conversationId: "150",
    sequence,
    acceptedAtMs: 1_795_449_600_123n,
    messageId: "9007199254740993",
    senderId: "9007199254740993",
    clientMessageId: keyText,
    content,
  }));
  assert.deepEqual(
    callsOf({ case: "deliver", value: { entries } }),
    entries.flatMap(({ sequence }) => [
      ["entry", Number(sequence), "9601"],
      ["delivered", Number(sequence), key],
    ]),
  );
});

test("only the sequence is read from an entry without a key of the bench", () => {
  const entries = [{ conversationId: "150", sequence: 2n, clientMessageId: "" }];
  assert.deepEqual(callsOf({ case: "deliver", value: { entries } }), [["entry", 2, "9601"]]);
});

test("results are read: accepted, refused, and refused without a key", () => {
  const results = [
    { clientMessageId: keyText, outcome: { case: "accepted" as const, value: { sequence: 5n } } },
    { clientMessageId: keyText, outcome: { case: "refused" as const, value: { text: "no" } } },
    { outcome: { case: "refused" as const, value: { text: "no" } } },
  ];
  assert.deepEqual(callsOf({ case: "sendResults", value: { results } }), [
    ["accepted", key],
    ["refused", key],
    ["refused", false],
  ]);
});

test("other frames are reported or skipped", () => {
  assert.deepEqual(callsOf({ case: "welcome", value: { sessionId: "s" } }), ["welcome"]);
  assert.deepEqual(callsOf({ case: "syncRequired", value: { lastSequence: 3n } }), [
    "syncRequired",
  ]);
  assert.deepEqual(callsOf({ case: "rpcResult", value: { callId: "1" } }), ["answered"]);
  assert.deepEqual(callsOf({ case: "heartbeat", value: {} }), []);
  assert.deepEqual(callsOf({ case: "receipt", value: { readSequence: 3n } }), []);
});
