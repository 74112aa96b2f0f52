import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ClientFrameSchema, CloseCode, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { scan } from "#platform/wire.ts";
import { readEnvelope } from "./envelope.ts";
import {
  deliverFrames,
  MAX_RESPONSE_BYTES,
  MAX_SERVER_FRAME_BYTES,
  RESULTS_PER_FRAME,
  readClientMessageId,
  readTarget,
  readTraceparent,
  refusedOutcome,
  refusedResult,
  rpcResultFrame,
  sendResultsFrame,
  unwrapClientFrame,
} from "./frames.ts";
import { TokenBucket } from "./token-bucket.ts";

const send = create(SendRequestSchema, {
  target: { case: "userId", value: "9007199254740993" },
  clientMessageId: "m-1",
  content: { kind: { case: "text", value: { text: "hi" } } },
});

test("a frame is unwrapped without decoding its body", () => {
  const kind = { case: "send" as const, value: send };
  const bytes = toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind }));
  const { kind: opened, body } = unwrapClientFrame(bytes);
  assert.equal(opened, "send");
  assert.deepEqual(Buffer.from(body), Buffer.from(toBinary(SendRequestSchema, send)));
  assert.deepEqual(readTarget(body), { kind: "user", id: 9007199254740993n });
  assert.equal(Buffer.from(readClientMessageId(body)).toString(), "m-1");
});

test("the client_message_id of a send is found in any position, and an invalid one stays out of refusals", () => {
  const idIn = (...bytes: number[]) =>
    Buffer.from(readClientMessageId(Uint8Array.from(bytes))).toString();
  assert.equal(idIn(0x08, 5, 0x32, 2, 0x61, 0x62), "ab");
  assert.equal(idIn(0x32, 2, 0x61, 0x62, 0x08, 5), "ab");
  assert.equal(idIn(0x08, 5, 0x32, 2, 0x61, 0x22), "", "a character that no id contains");
  assert.equal(idIn(0x08, 5, 0x32, 65, ...Array.from({ length: 65 }, () => 0x61)), "", "too long");
  assert.equal(idIn(0x08, 5, 0x3a, 1), "", "cut off");
  assert.equal(idIn(), "");
});

test("unknown kinds and an empty frame are skipped, wrong wire types and truncated frames throw", () => {
  assert.equal(unwrapClientFrame(Uint8Array.of()).kind, "unknown");
  assert.equal(unwrapClientFrame(Uint8Array.of(0x7a, 1, 5)).kind, "unknown");
  assert.equal(unwrapClientFrame(Uint8Array.of(0x32, 0x80, 0)).kind, "heartbeat");
  assert.throws(() => unwrapClientFrame(Uint8Array.of(0x10, 5)));
  assert.throws(() => unwrapClientFrame(Uint8Array.of(0x12, 5, 1)));
});

test("frames built from encoded parts are decoded by the generated code", () => {
  const entry = toBinary(EntrySchema, create(EntrySchema, { sequence: 5n, senderId: "3" }));
  const [frame] = deliverFrames([entry, entry]);
  const { kind } = fromBinary(ServerFrameSchema, frame!);
  assert.deepEqual(kind.case === "deliver" && kind.value.entries.map((e) => e.sequence), [5n, 5n]);
  assert.equal(deliverFrames([]).length, 0);
  const large = new Uint8Array(200_000);
  assert.equal(deliverFrames([large, large, large]).length, 3);

  const reason = ErrorReason.OVERLOADED;
  const outcome = refusedOutcome({ reason, text: "full", retryAfterMs: 5 });
  const result = refusedResult(Buffer.from("x"), outcome);
  const results = fromBinary(ServerFrameSchema, sendResultsFrame([result])).kind;
  assert.equal(results.case === "sendResults" && results.value.results[0]!.clientMessageId, "x");
  const answer = fromBinary(ServerFrameSchema, rpcResultFrame("-1", entry)).kind;
  assert.equal(answer.case === "rpcResult" && answer.value.callId, "-1");
});

/** Number of items in a frame of a list. */
function itemsIn(frame: Uint8Array): number {
  const [[, , start, end] = [0, 0, 0, 0]] = scan(frame);
  return scan(frame.subarray(start, end)).length;
}

test("no frame is larger than max_server_frame_bytes", () => {
  const bodies = (bytes: number, count: number) =>
    Array.from({ length: count }, () => new Uint8Array(bytes));
  // The largest content with an id and numbers, many small entries, and entries around the limit.
  const lists = [bodies(66_000, 40), bodies(20, 100_000), bodies(131_069, 5), bodies(1, 300_000)];
  for (const entries of lists) {
    let count = 0;
    for (const frame of deliverFrames(entries)) {
      assert.ok(frame.length <= 262_144 + 16, `${frame.length}`);
      count += itemsIn(frame);
    }
    assert.equal(count, entries.length);
  }
  const response = rpcResultFrame("-9223372036854775808", new Uint8Array(MAX_RESPONSE_BYTES));
  assert.ok(response.length <= MAX_SERVER_FRAME_BYTES, `${response.length}`);
  const results = sendResultsFrame(bodies(1_024, RESULTS_PER_FRAME));
  assert.ok(results.length <= MAX_SERVER_FRAME_BYTES, `${results.length}`);
});

test("an envelope decodes to the same values as with the generated code", () => {
  const delivery = {
    channels: ["u:1", "g:22"],
    conversationId: "9007199254740993",
    lastSequence: 300n,
    entries: [Uint8Array.of(1, 2), Uint8Array.of(3)],
    originSessionIds: ["s1", ""],
  };
  const body = toBinary(
    EnvelopeSchema,
    create(EnvelopeSchema, {
      memberships: [{ userId: "1", groupId: "22", member: true }],
      deliveries: [delivery],
      signals: [{ channels: ["u:1"], frame: Uint8Array.of(9), exceptUserId: "4" }],
      kicks: [{ sessionId: "s", code: CloseCode.REPLACED }],
    }),
  );
  const opened = readEnvelope(body);
  const [read] = opened.deliveries;
  assert.deepEqual(read?.channels, delivery.channels);
  assert.deepEqual([read?.conversationId, read?.last], [delivery.conversationId, 300]);
  assert.deepEqual(
    read?.entries.map((bytes) => [...bytes]),
    [[1, 2], [3]],
  );
  assert.deepEqual(read?.origins, ["s1", ""]);
  assert.equal(opened.memberships[0]!.groupId, "22");
  assert.equal(opened.signals[0]!.exceptUserId, "4");
  assert.equal(opened.kicks[0]!.code, CloseCode.REPLACED);
  assert.throws(() => readEnvelope(body.subarray(0, 9)));
});

test("a token bucket allows a burst, then the rate", () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 3, nowMs: 0 });
  const taken = [0, 0, 0, 0, 100, 100, 1_000, 1_000, 1_000, 1_000].map((at) => bucket.take(1, at));
  assert.deepEqual(taken, [true, true, true, false, true, false, true, true, true, false]);
});

test("the context of a device's trace is read before and after the kind, if it has its length", () => {
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const withContext = (context: string) => {
    const kind = { case: "send" as const, value: { clientMessageId: "m" } };
    const frame = create(ClientFrameSchema, { kind, traceparent: context });
    return Buffer.from(toBinary(ClientFrameSchema, frame));
  };
  const read = (bytes: Buffer) => {
    const { kind, body } = unwrapClientFrame(bytes);
    assert.equal(kind, "send");
    return readTraceparent(bytes, body);
  };
  const after = withContext(traceparent);
  const before = Buffer.concat([after.subarray(-57), after.subarray(0, -57)]);
  assert.deepEqual([read(after), read(before)], [traceparent, traceparent]);
  for (const wrong of ["", "00-1", `${traceparent}-2`, "x".repeat(5_000)])
    assert.equal(read(withContext(wrong)), "");
});
