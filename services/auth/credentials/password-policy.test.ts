import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { quiet } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createPasswordPolicy } from "./password-policy.ts";
import { createStrengthEstimator } from "./strength-estimator.ts";

const estimator = createStrengthEstimator({ clock: new ManualClock(), log: quiet });
after(() => estimator.stop());
const usual = { passwordMinLength: 8, passwordMinScore: 2 };
const { requireStrong } = createPasswordPolicy(usual, estimator);
const weak = (error: unknown) => reasonOf(error) === ErrorReason.PASSWORD_WEAK;

test("common passwords are refused, whatever kinds of characters they have", async () => {
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
    await assert.rejects(requireStrong(password), weak, password);
});

test("a passphrase without digits or symbols is accepted, in any script", async () => {
  for (const password of [
    "correct horse",
    "tuliphatchetorbit",
    "пароль-пароль 密码",
    "我的很长的密码短语",
    `zebra lantern ${"x".repeat(114)}`,
  ])
    await requireStrong(password);
});

test("length is counted in characters: 8 to 128", async () => {
  const faces = "😀😃😄😁😆😅🤣";
  await assert.rejects(requireStrong(faces), weak);
  await requireStrong(`${faces}😂`);
  await assert.rejects(requireStrong("zebra lantern quartz ".repeat(7).slice(0, 129)), weak);
  await requireStrong("zebra lantern quartz ".repeat(7).slice(0, 128));
});

test("a password that contains a name or the number of the account is weak", async () => {
  await requireStrong("kaltenbrunn");
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
    await assert.rejects(requireStrong(password, "", word), weak, password);
});

test("the configuration sets the minimum length and strength", async () => {
  const strict = createPasswordPolicy({ passwordMinLength: 12, passwordMinScore: 4 }, estimator);
  await assert.rejects(strict.requireStrong("correct horse"), weak);
  await assert.rejects(strict.requireStrong("k7#Lq9!vT2"), weak);
  await strict.requireStrong("correct horse battery staple");
});

test("with a minimum score of 0, length and names are checked, and the strength is not estimated", async () => {
  const score = () => assert.fail("an estimate");
  const lax = createPasswordPolicy({ passwordMinLength: 6, passwordMinScore: 0 }, { score });
  await lax.requireStrong("secret", "maria");
  await assert.rejects(lax.requireStrong("short"), weak);
  await assert.rejects(lax.requireStrong("maria.1", "maria.1"), weak);
});
