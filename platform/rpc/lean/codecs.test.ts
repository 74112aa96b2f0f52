import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AppendBatchRequestSchema,
  AppendBatchResponseSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { PingSchema } from "#gen/lucky/internal/link/v1/link_pb.js";
import { WireWriter } from "#platform/wire.ts";
import { decode, encode } from "./codecs.ts";

const uplink = (senderId: string, sessionId: string, length: number) => ({
  senderId,
  sessionId,
  send: Uint8Array.from({ length }, (_, at) => at % 251),
});

const requests = [
  [],
  [uplink("1", "s", 1)],
  [
    uplink("9223372036854775807", "ß✓🦩", 127),
    uplink("250000000000000001", "abcdefghijklmnop", 128),
  ],
  [uplink("77", "x".repeat(200), 70_000), uplink("-1", "s", 3)],
].map((uplinks) => create(AppendBatchRequestSchema, { uplinks }));

const responses = [[], [1], [1, 127, 128, 20_000]].map((lengths) =>
  create(AppendBatchResponseSchema, { results: lengths.map((length) => new Uint8Array(length)) }),
);

test("the hand-written codecs write the bytes of protobuf-es and read them", () => {
  for (const request of requests) {
    const bytes = toBinary(AppendBatchRequestSchema, request);
    assert.deepEqual(Buffer.from(encode(AppendBatchRequestSchema, request)), Buffer.from(bytes));
    const read = decode(AppendBatchRequestSchema, bytes);
    assert.deepEqual(toBinary(AppendBatchRequestSchema, read as typeof request), bytes);
  }
  for (const response of responses) {
    const bytes = toBinary(AppendBatchResponseSchema, response);
    assert.deepEqual(Buffer.from(encode(AppendBatchResponseSchema, response)), Buffer.from(bytes));
    const read = decode(AppendBatchResponseSchema, bytes);
    assert.deepEqual(toBinary(AppendBatchResponseSchema, read as typeof response), bytes);
  }
});

test("the hand-written codecs leave empty fields out and skip fields of a later version", () => {
  const empty = create(AppendBatchRequestSchema, { uplinks: [{ senderId: "0" }] });
  const bytes = new Uint8Array(encode(AppendBatchRequestSchema, empty));
  assert.deepEqual(fromBinary(AppendBatchRequestSchema, bytes), empty);
  const later = new WireWriter().varint(9, 5).string(10, "later").finish();
  const inner = Buffer.concat([toBinary(AppendBatchRequestSchema, requests[1]!), later]);
  const read = decode(AppendBatchRequestSchema, inner) as (typeof requests)[0];
  assert.deepEqual(read, { ...requests[1], uplinks: read.uplinks });
  assert.deepEqual(
    toBinary(AppendBatchRequestSchema, read),
    toBinary(AppendBatchRequestSchema, requests[1]!),
  );
  const results = Buffer.concat([later, toBinary(AppendBatchResponseSchema, responses[1]!)]);
  assert.equal(
    (decode(AppendBatchResponseSchema, results) as (typeof responses)[0]).results.length,
    1,
  );
});

test("a truncated batch is refused", () => {
  const bytes = encode(AppendBatchRequestSchema, requests[2]!);
  for (let length = 1; length < 60; length++) {
    assert.throws(() => decode(AppendBatchRequestSchema, bytes.subarray(0, length)), `${length}`);
  }
});

test("any other message is encoded by protobuf-es", () => {
  const ping = create(PingSchema);
  assert.deepEqual(decode(PingSchema, encode(PingSchema, ping)), ping);
});
