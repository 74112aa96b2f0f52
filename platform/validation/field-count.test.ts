import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AddMembersRequestSchema } from "#gen/lucky/group/v1/group_pb.js";
import { AdvanceBatchRequestSchema } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { WireError } from "#platform/wire.ts";
import { fieldCounter } from "./field-count.ts";

const advances = fieldCounter(AdvanceBatchRequestSchema);
const members = fieldCounter(AddMembersRequestSchema);

type Advances = MessageInitShape<typeof AdvanceBatchRequestSchema>["advances"];
const encoded = (list: Advances) =>
  toBinary(AdvanceBatchRequestSchema, create(AdvanceBatchRequestSchema, { advances: list }));

test("fields are counted at all depths", () => {
  const cursor = { conversationId: "7", deliveredSequence: 1n, readSequence: 1n };
  const count = (list: Advances) => advances(encoded(list), 1_000);
  assert.equal(count([]), 0);
  assert.equal(count([{}]), 1);
  assert.equal(count([{ userId: "1" }, {}]), 3);
  assert.equal(count([{ userId: "1", cursor }, { cursor: {} }, { undeliveredSequence: 1n }]), 10);
});

test("the items of a packed list are counted, and unknown fields", () => {
  const userIds = ["1", "300", "9223372036854775807"];
  const bytes = toBinary(AddMembersRequestSchema, create(AddMembersRequestSchema, { userIds }));
  assert.equal(members(bytes, 100), 4);
  const unknown = Uint8Array.of(0xf8, 0x07, 0x01, 0xfa, 0x07, 0x02, 0x0a, 0x00);
  assert.equal(members(unknown, 100), 2);
});

test("counting stops at the bound", () => {
  const bytes = Buffer.alloc(1_000_000, Uint8Array.of(0x0a, 0x00));
  assert.equal(advances(bytes, 10), 11);
});

test("bytes that are not a message are refused", () => {
  const malformed = {
    "a truncated field": [0x0a, 0x05, 0x00],
    "an inner field that goes past its message": [0x0a, 0x02, 0x12, 0x05, 0, 0, 0, 0, 0],
    "a group": [0x0b, 0x0c],
    "field number 0": [0x00, 0x00],
  };
  for (const [name, bytes] of Object.entries(malformed)) {
    assert.throws(() => advances(Uint8Array.from(bytes), 100), WireError, name);
  }
});
