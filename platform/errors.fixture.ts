import assert from "node:assert/strict";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";

/** A check for `assert.rejects`: the error has this reason. */
export const failsWith = (reason: keyof typeof ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[reasonOf(error)], reason, String(error));
  return true;
};
