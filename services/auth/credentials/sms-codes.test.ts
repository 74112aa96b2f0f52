import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { detailOf } from "#platform/errors.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { Metrics } from "#platform/metrics.ts";
import { createConsoleSms } from "#platform/sms/console.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { refused, startTestAuth, TEST_KEY, type TestAuth } from "../auth.suite.ts";
import { authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createCodes } from "../keys/codes.ts";
import { createColumnEncryption } from "../keys/column-encryption.ts";
import { createKeyEncryption } from "../keys/key-encryption.ts";
import { createKeyring } from "../keys/keyring.ts";
import { createSmsCodes } from "./sms-codes.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, clock, messages } = one;
const { LOGIN, REGISTER, RESET, BIND } = SmsPurpose;
const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
const HOUR = 3_600_000;

const lastCode = (from: TestAuth = one) => codeOf(from.messages.at(-1)!);
/** A different code of six digits. */
const otherThan = (code: string) => String((Number(code) + 1) % 1_000_000).padStart(6, "0");
const registerBy = (phone: string, code: string, on = one) =>
  on.auth.registerByPhone({ phone, code, device });

/** A number with an account, after the resend interval. */
async function registeredPhone(): Promise<string> {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  await registerBy(phone, lastCode());
  clock.advance(61_000);
  return phone;
}

async function waitMs(call: Promise<unknown>): Promise<number> {
  const error = await call.then(
    () => assert.fail("the call succeeded"),
    (e: unknown) => e,
  );
  await refused(Promise.reject(error), ErrorReason.RATE_LIMITED);
  return Number(detailOf(error)?.retryAfterMs);
}

test("a code is valid for five minutes, and its message states that time", async () => {
  const phone = randomPhoneNumber();
  const sent = await auth.sendSmsCode({ phone, purpose: REGISTER });
  assert.equal(sent.expiresAtMs, BigInt(clock.now() + 300_000));
  assert.equal(sent.resendAfterMs, 60_000n);
  assert.equal(messages.at(-1)!.phone, phone);
  assert.match(messages.at(-1)!.text, /^\d{6} is your Lucky code\. It is good for 5 minutes/);
  clock.advance(300_000);
  await refused(registerBy(phone, lastCode()), ErrorReason.SMS_CODE_INVALID);
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  clock.advance(299_999);
  await registerBy(phone, lastCode());
});

test("a code is valid once, even when two instances race for it", async (t) => {
  const two = await startTestAuth({ url, t, clock });
  const phone = await registeredPhone();
  await auth.sendSmsCode({ phone, purpose: LOGIN });
  const code = lastCode();
  const outcomes = await Promise.allSettled(
    [one, two, one, two].map((on) => on.auth.loginBySmsCode({ phone, code, device })),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  await refused(auth.loginBySmsCode({ phone, code, device }), ErrorReason.SMS_CODE_INVALID);
});

test("a code is valid only for its purpose, its number and its user", async () => {
  const phone = await registeredPhone();
  await auth.sendSmsCode({ phone, purpose: LOGIN });
  const code = lastCode();
  const newPassword = () => one.encrypt("a different one");
  const resetting = auth.resetPassword({ phone, code, newPassword: await newPassword() });
  await refused(resetting, ErrorReason.SMS_CODE_INVALID);
  await refused(registerBy(phone, code), ErrorReason.SMS_CODE_INVALID);
  const elsewhere = auth.loginBySmsCode({ phone: await registeredPhone(), code, device });
  await refused(elsewhere, ErrorReason.SMS_CODE_INVALID);
  await auth.loginBySmsCode({ phone, code, device });

  const [ana, ben] = [await one.register(), await one.register()];
  const [asAna, asBen] = [
    one.as(await one.login(ana.userName)),
    one.as(await one.login(ben.userName)),
  ];
  const fresh = randomPhoneNumber();
  await auth.sendSmsCode({ phone: fresh, purpose: BIND }, asAna);
  const bind = async (as: typeof asAna) =>
    auth.bindPhone(
      { phone: fresh, code: lastCode(), password: await one.encrypt("correct horse") },
      as,
    );
  await refused(bind(asBen), ErrorReason.SMS_CODE_INVALID);
  await bind(asAna);
});

test("a new code invalidates the older one of the same purpose", async () => {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  const older = lastCode();
  clock.advance(60_000);
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  const newer = lastCode();
  if (older !== newer) await refused(registerBy(phone, older), ErrorReason.SMS_CODE_INVALID);
  await registerBy(phone, newer);
});

test("concurrent wrong guesses are all counted, and a code allows five of them", async () => {
  const phone = await registeredPhone();
  await auth.sendSmsCode({ phone, purpose: LOGIN });
  const wrong = otherThan(lastCode());
  const guess = (code: string) => auth.loginBySmsCode({ phone, code, device });
  await Promise.all([1, 2, 3, 4, 5].map(() => refused(guess(wrong), ErrorReason.SMS_CODE_INVALID)));
  const { tokens } = await guess(lastCode());
  assert.ok(tokens);

  clock.advance(60_000);
  await auth.sendSmsCode({ phone, purpose: LOGIN });
  const again = otherThan(lastCode());
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => guess(again)));
  const invalid = outcomes.filter(
    (o) => o.status === "rejected" && detailOf(o.reason)?.reason === ErrorReason.SMS_CODE_INVALID,
  );
  assert.equal(invalid.length, 6);
  await refused(guess(lastCode()), ErrorReason.SMS_CODE_EXHAUSTED);
});

test("a failure after the right code leaves the code valid", async () => {
  const phone = randomPhoneNumber();
  const taken = await one.register();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  const code = lastCode();
  for (let n = 0; n < 8; n++) {
    const call = auth.registerByPhone({ phone, code, device, userName: taken.userName });
    await refused(call, ErrorReason.USER_NAME_TAKEN);
  }
  await registerBy(phone, code);
});

test("a number without an account gets the same answer, and no message", async () => {
  const [stranger, friend] = [randomPhoneNumber(), await registeredPhone()];
  for (const purpose of [LOGIN, RESET]) {
    const before = messages.length;
    const unknown = await auth.sendSmsCode({ phone: stranger, purpose });
    assert.equal(messages.length, before);
    assert.deepEqual(await auth.sendSmsCode({ phone: friend, purpose }), unknown);
    assert.equal(messages.length, before + 1);
    const waits = [
      await waitMs(auth.sendSmsCode({ phone: stranger, purpose })),
      await waitMs(auth.sendSmsCode({ phone: friend, purpose })),
    ];
    assert.equal(waits[0], waits[1]);
    clock.advance(60_000);
  }
  const guess = (phone: string) => auth.loginBySmsCode({ phone, code: "000000", device });
  await auth.sendSmsCode({ phone: stranger, purpose: LOGIN });
  for (let n = 0; n < 6; n++) await refused(guess(stranger), ErrorReason.SMS_CODE_INVALID);
  await refused(guess(stranger), ErrorReason.SMS_CODE_EXHAUSTED);
});

test("rate limits of a number: one code a minute, five an hour, ten a day, over all purposes", async (t) => {
  const phone = randomPhoneNumber();
  const purposes = [LOGIN, REGISTER, RESET];
  const send = (n: number, on = one) =>
    on.auth.sendSmsCode({ phone, purpose: purposes[n % purposes.length]! });
  await send(0);
  assert.equal(await waitMs(send(1)), 60_000);
  clock.advance(59_999);
  assert.equal(await waitMs(send(1)), 1);
  clock.advance(1);
  for (let n = 1; n < 5; n++) {
    await send(n);
    clock.advance(60_000);
  }
  assert.equal(await waitMs(send(5)), HOUR - 300_000);
  // The limit holds over instances and restarts, and after expired codes were deleted.
  const two = await startTestAuth({ url, t, clock });
  assert.equal(await waitMs(send(5, two)), HOUR - 300_000);
  clock.advance(HOUR - 300_000);
  for (let n = 0; n < 5; n++) {
    await send(n, two);
    clock.advance(12 * 60_000);
  }
  assert.equal(await waitMs(send(10)), 24 * HOUR - 2 * HOUR);
  clock.advance(22 * HOUR);
  await send(10);
});

test("of concurrent sends to one number exactly one succeeds", async (t) => {
  const two = await startTestAuth({ url, t, clock });
  const phone = randomPhoneNumber();
  const outcomes = await Promise.allSettled(
    [one, two, one, two].map((on) => on.auth.sendSmsCode({ phone, purpose: REGISTER })),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
});

test("the daily budget bounds the codes of all numbers, and numbers without an account use a share", async (t) => {
  const known = [await registeredPhone(), await registeredPhone(), await registeredPhone()];
  const tight = await startTestAuth({ url, t, clock, config: { smsPerDay: 4 } });
  const send = (phone: string, purpose = REGISTER) => tight.auth.sendSmsCode({ phone, purpose });
  const aDay = async (call: Promise<unknown>) => {
    const waits = await waitMs(call);
    assert.ok(waits > 0 && waits <= 24 * HOUR);
  };
  // No message is sent to these numbers, and they use nothing.
  for (let n = 0; n < 8; n++) await send(randomPhoneNumber(), n % 2 === 0 ? LOGIN : RESET);
  await send(randomPhoneNumber());
  await send(randomPhoneNumber());
  await aDay(send(randomPhoneNumber()));
  // A number with an account gets the same refusal for the same purpose.
  await aDay(send(known[2]!));
  await send(known[0]!, LOGIN);
  await send(randomPhoneNumber(), LOGIN);
  await send(known[1]!, RESET);
  const sent = tight.messages.length;
  assert.equal(sent, 4);
  // The budget is used up: numbers with and without an account get the same answer.
  const refusals = [
    await waitMs(send(randomPhoneNumber(), LOGIN)),
    await waitMs(send(known[2]!, LOGIN)),
    await waitMs(send(randomPhoneNumber(), RESET)),
  ];
  assert.equal(new Set(refusals).size, 1);
  assert.equal(tight.messages.length, sent);
});

test("codes are sent only to the countries of the setting, with a clear refusal for others", async (t) => {
  const phone = await registeredPhone();
  const [code, other] = [phone.slice(0, 3), "+447400123456"];
  assert.ok(!other.startsWith(code));
  const some = await startTestAuth({ url, t, clock, config: { smsCountries: [code, "+43"] } });
  await some.auth.sendSmsCode({ phone, purpose: LOGIN });
  for (const purpose of [LOGIN, REGISTER, RESET]) {
    const call = some.auth.sendSmsCode({ phone: other, purpose });
    await assert.rejects(call, /no codes are sent to this country/);
    await refused(some.auth.sendSmsCode({ phone: other, purpose }), ErrorReason.PHONE_INVALID);
  }
  assert.equal(some.messages.length, 1);
});

test("an invalid number, or one that cannot receive messages, is refused", async () => {
  for (const phone of ["+4915", "+493012345678", "+18005551234", "+9999999999"]) {
    const call = auth.sendSmsCode({ phone, purpose: REGISTER });
    await assert.rejects(call, /phone/);
  }
  const bind = auth.sendSmsCode({ phone: randomPhoneNumber(), purpose: BIND });
  await refused(bind, ErrorReason.TOKEN_INVALID);
  const unset = auth.sendSmsCode({ phone: randomPhoneNumber(), purpose: SmsPurpose.UNSPECIFIED });
  await refused(unset, ErrorReason.INVALID_ARGUMENT);
});

test("the table holds neither number nor code in plain text or hexadecimal", async () => {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  const { rows } = await pool.query("SELECT t::text AS row FROM auth.sms_code t");
  assert.ok(rows.length > 0);
  for (const secret of [phone, phone.slice(1), lastCode()])
    assert.ok(rows.every(({ row }) => !row.includes(Buffer.from(secret).toString("hex"))));
  assert.ok(rows.every(({ row }) => !row.includes(phone)));
});

test("codes are deleted when they no longer count against the limits", async () => {
  await pool.query("DELETE FROM auth.sms_code");
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: REGISTER });
  const database = openDatabase(pool);
  const config = { ...defaultsOf(authConfig), keyEncryptionKey: TEST_KEY };
  const keyEncryption = createKeyEncryption(TEST_KEY);
  const keyring = await createKeyring({ config, database, keyEncryption, clock });
  const { deleteExpired } = createSmsCodes({
    config,
    database,
    codes: createCodes({ keyring, clock }),
    columns: createColumnEncryption({ keyring, clock }),
    sms: createConsoleSms(),
    limiter: createMemoryLimiter({ clock }),
    clock,
    log: quiet,
    metrics: new Metrics(),
  });
  const rows = async () => (await pool.query("SELECT 1 FROM auth.sms_code")).rowCount;
  clock.advance(24 * HOUR);
  await deleteExpired();
  assert.equal(await rows(), 1);
  clock.advance(300_001);
  await deleteExpired();
  assert.equal(await rows(), 0);
  await database.$disconnect();
});
