import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { AddMembersRequestSchema } from "#gen/lucky/group/v1/group_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { fieldCounter } from "./field-count.ts";

const cursors = (count: number) =>
  Array.from({ length: count }, (_, at) => ({
    conversationId: String(at + 1),
    deliveredSequence: 1n,
    readSequence: 1n,
  }));
const acknowledged = fieldCounter(AcknowledgeRequestSchema);
const added = fieldCounter(AddMembersRequestSchema);

test("fields are counted at all depths, and each number of a packed list is one", () => {
  const acknowledge = (count: number) =>
    toBinary(
      AcknowledgeRequestSchema,
      create(AcknowledgeRequestSchema, { cursors: cursors(count) }),
    );
  assert.deepEqual(
    [0, 1, 10, 200].map((count) => acknowledged(acknowledge(count), 10_000)),
    [0, 4, 40, 800],
  );
  const userIds = Array.from({ length: 1_000 }, (_, at) =>
    String(9_007_199_254_740_993n + BigInt(at)),
  );
  const add = create(AddMembersRequestSchema, { groupId: "7", userIds });
  assert.equal(added(toBinary(AddMembersRequestSchema, add), 10_000), 1_001);
});

test("unknown fields are counted, the count stops above its maximum and at malformed bytes", () => {
  const empty = new Uint8Array(2_000);
  for (let at = 0; at < empty.length; at += 2) empty[at] = 0x7a;
  assert.equal(acknowledged(empty, 10_000), 1_000);
  assert.equal(acknowledged(empty, 100), 101);
  assert.equal(acknowledged(Uint8Array.of(0x7a, 0, 0x7a, 9), 100), 1);
});
