import assert from "node:assert/strict";
import { test } from "node:test";
import { AppendBatchRequestSchema } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { CLIENT_MESSAGE_ID_BYTES, MAX_CLIENT_MESSAGE_ID_BYTES } from "./client-message-id.ts";
import { maxItems, patternOf } from "./constraints.ts";

test("a bound and a pattern are read from the contract", () => {
  assert.equal(maxItems(AppendBatchRequestSchema.field.uplinks), 512);
  const pattern = patternOf(SendRequestSchema.field.clientMessageId);
  assert.equal(pattern.source, "^[A-Za-z0-9._-]{1,64}$");
});

test("a field without the constraint is an error, not an absent bound", () => {
  assert.throws(() => maxItems(SendRequestSchema.field.clientMessageId), /has no max_items/);
  assert.throws(() => patternOf(SendRequestSchema.field.content), /has no pattern/);
});

test("the bytes of a client_message_id are those that its pattern allows", () => {
  const allowed = [...CLIENT_MESSAGE_ID_BYTES.keys()].filter(
    (byte) => CLIENT_MESSAGE_ID_BYTES[byte],
  );
  assert.equal(
    String.fromCharCode(...allowed),
    "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
  );
  assert.equal(MAX_CLIENT_MESSAGE_ID_BYTES, 64);
});
