import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { createPasswordPolicy } from "./password-policy.ts";

const { requireStrong } = createPasswordPolicy({ passwordMinLength: 8, passwordMinScore: 2 });
const weak = (error: unknown) => reasonOf(error) === ErrorReason.PASSWORD_WEAK;

test("common passwords are refused, whatever kinds of characters they have", () => {
  for (const password of [
    "",
    "short",
    "Aa1!Bb2",
    "password",
    "Password1!",
    "p4ssw0rd",
    "abababababab",
    "qwertyuiop",
    "abcdefgh",
    "11.11.2011",
    "a".repeat(128),
  ])
    assert.throws(() => requireStrong(password), weak, password);
});

test("a passphrase without digits or symbols is accepted, in any script", () => {
  for (const password of [
    "correct horse",
    "tuliphatchetorbit",
    "пароль-пароль 密码",
    "我的很长的密码短语",
    `zebra lantern ${"x".repeat(114)}`,
  ])
    requireStrong(password);
});

test("length is counted in characters: 8 to 128", () => {
  const faces = "😀😃😄😁😆😅🤣";
  assert.throws(() => requireStrong(faces), weak);
  requireStrong(`${faces}😂`);
  assert.throws(() => requireStrong("zebra lantern quartz ".repeat(7).slice(0, 129)), weak);
  requireStrong("zebra lantern quartz ".repeat(7).slice(0, 128));
});

test("a password that contains a name or the number of the account is weak", () => {
  requireStrong("kaltenbrunn");
  for (const [password, word] of [
    ["kaltenbrunn", "kaltenbrunn"],
    ["KALTENBRUNN", "kaltenbrunn"],
    ["kaltenbrunn1", "kaltenbrunn"],
    ["Straßenfest", "STRASSENFEST"],
    ["+4915137402856", "+4915137402856"],
    ["4915137402856", "+4915137402856"],
    ["015137402856", "+4915137402856"],
    ["15137402856", "+4915137402856"],
    ["015137402856!", "+4915137402856"],
  ] as const)
    assert.throws(() => requireStrong(password, "", word), weak, password);
});

test("the configuration sets the minimum length and strength", () => {
  const strict = createPasswordPolicy({ passwordMinLength: 12, passwordMinScore: 4 });
  assert.throws(() => strict.requireStrong("correct horse"), weak);
  assert.throws(() => strict.requireStrong("k7#Lq9!vT2"), weak);
  strict.requireStrong("correct horse battery staple");
  createPasswordPolicy({ passwordMinLength: 6, passwordMinScore: 0 }).requireStrong("secret");
});
