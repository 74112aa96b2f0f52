import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { maskPhone, normalizePhone } from "./phone.ts";

test("a mobile number stays unchanged; a superfluous national zero is removed", () => {
  assert.equal(normalizePhone("+4915112345678"), "+4915112345678");
  assert.equal(normalizePhone("+447400123456"), "+447400123456");
  assert.equal(normalizePhone("+4407400123456"), "+447400123456");
});

test("a number that cannot receive messages is refused", () => {
  for (const phone of ["+49", "+999123456789", "+491511", "+493012345678", "+18005550199", "x"]) {
    assert.throws(
      () => normalizePhone(phone),
      (error) => reasonOf(error) === ErrorReason.PHONE_INVALID,
      phone,
    );
  }
});

test("a masked number shows only its last digits", () => {
  assert.equal(maskPhone("+4915112345678"), "**78");
});
