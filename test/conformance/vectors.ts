import assert from "node:assert/strict";
import { createRegistry, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { file_lucky_auth_v1_auth } from "#gen/lucky/auth/v1/auth_pb.js";
import { file_lucky_error_v1_error } from "#gen/lucky/error/v1/error_pb.js";
import { file_lucky_frame_v1_frame } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Json } from "./values.ts";

/** A message in bytes and in JSON. */
export interface Vector {
  readonly title: string;
  readonly message: string;
  readonly hex: string;
  readonly json: Json;
  /** Bytes that an encoder would write in another way. */
  readonly decode_only?: boolean;
}

const registry = createRegistry(
  file_lucky_auth_v1_auth,
  file_lucky_error_v1_error,
  file_lucky_frame_v1_frame,
);

export function bytesOf(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(/\s/g, ""), "hex");
}

export function checkVector(vector: Vector): void {
  const schema = registry.getMessage(vector.message);
  assert.ok(schema, `no message ${vector.message}`);
  const bytes = bytesOf(vector.hex);
  const encoded = fromJson(schema, vector.json);
  assert.deepEqual(toJson(schema, fromBinary(schema, bytes)), toJson(schema, encoded));
  if (vector.decode_only) return;
  assert.equal(Buffer.from(toBinary(schema, encoded)).toString("hex"), bytes.toString("hex"));
}
