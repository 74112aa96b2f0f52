import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { AdvanceBatchRequestSchema } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { countJson, createRequestBound } from "./request-bound.ts";

test("bytes that are not a message are refused", () => {
  const bound = createRequestBound();
  const request = { schema: AdvanceBatchRequestSchema, bytes: Uint8Array.of(0x0b, 0x0c) };
  assert.throws(
    () => bound({ ...request, json: false }, 1),
    (error) => reasonOf(error) === ErrorReason.INVALID_ARGUMENT,
  );
});

test("the count of a JSON text is at least the number of its values, and ignores texts", () => {
  const valuesIn = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? Object.values(value).reduce<number>((sum, inner) => sum + valuesIn(inner), 1)
      : 1;
  const values = [1, [], {}, [1, 2, 3], [[], [[]]], { a: 1, b: [1, { c: "x" }] }, [{}, {}, null]];
  for (const value of values) {
    const counted = countJson(Buffer.from(JSON.stringify(value, null, 1)), 1_000);
    assert.ok(counted >= valuesIn(value), JSON.stringify(value));
  }
  const texts = Buffer.from(JSON.stringify({ a: '[[{{,,"\\', b: "\\,," }));
  assert.equal(countJson(texts, 1_000), 3);
});
