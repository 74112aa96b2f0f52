import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass, SmsPurpose, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { GOOD_PASSWORD, proofBy, refused, startTestAuth, TEST_KEY } from "../auth.suite.ts";
import { authConfig } from "../config.ts";
import { openDatabase } from "../database.ts";
import { createLogins } from "../logins/logins.ts";
import type { Revocation } from "../logins/revocation-notifier.ts";
import { createSecurityNotices } from "../notices/security-notices.ts";

const DAY_MS = 86_400_000;
const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, clock, devices } = one;

/** A device that waits, its code scanned by the phone. */
async function scannedBy(phone: Tokens, deviceId: string, deviceClass = DeviceClass.DESKTOP) {
  const { qrLoginId, secret } = await auth.createQrLogin({ device: { deviceId, deviceClass } });
  await auth.scanQrLogin({ qrLoginId }, one.as(phone));
  return {
    qrLoginId,
    fetch: async () => (await auth.getQrLogin({ qrLoginId, secret, deviceId })).qrLogin?.tokens,
  };
}

/** Logs a device in by a code that the phone confirms. */
async function logInBy(phone: Tokens, deviceId = "desk", deviceClass = DeviceClass.DESKTOP) {
  const { qrLoginId, fetch } = await scannedBy(phone, deviceId, deviceClass);
  await auth.confirmQrLogin({ qrLoginId, proof: proofBy(phone) }, one.as(phone));
  return (await fetch())!;
}

/** A user with a phone, and a desk that the phone logged in. */
async function phoneAndDesk() {
  const { userName, userId } = await one.register();
  const phone = await one.login(userName);
  return { userName, userId, phone, desk: await logInBy(phone) };
}

const refresh = async ({ refreshToken }: Tokens) => (await auth.refresh({ refreshToken })).tokens!;
const isOver = (tokens: Tokens) => refused(refresh(tokens), ErrorReason.REFRESH_TOKEN_INVALID);
const byPassword = async (password = GOOD_PASSWORD) => ({
  kind: { case: "password", value: await one.encrypt(password) } as const,
});
const idsOf = async (tokens: Tokens) =>
  (await devices.listDevices({}, one.as(tokens))).devices.map(({ device, confirmedByDeviceId }) => [
    device!.deviceId,
    confirmedByDeviceId,
  ]);
const reasonOfEnd = async (userId: string, deviceId: string) => {
  const sql =
    "SELECT revoked_reason AS reason FROM auth.login WHERE user_id = $1 AND device_id = $2";
  return (await pool.query(sql, [userId, deviceId])).rows[0]?.reason;
};

test("a confirmation needs the phone's own refresh token or the password", async () => {
  const { userName } = await one.register();
  const [phone, tablet] = [await one.login(userName), await one.login(userName, "tablet")];
  const { qrLoginId, fetch } = await scannedBy(phone, "desk");
  const confirm = (proof?: ReturnType<typeof proofBy> | Awaited<ReturnType<typeof byPassword>>) =>
    auth.confirmQrLogin({ qrLoginId, proof }, one.as(phone));
  await refused(confirm(), ErrorReason.PROOF_REQUIRED);
  await refused(confirm(proofBy(tablet)), ErrorReason.REFRESH_TOKEN_INVALID);
  const invented = { ...phone, refreshToken: "x".repeat(43) };
  await refused(confirm(proofBy(invented)), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(confirm(await byPassword("wrong")), ErrorReason.CREDENTIALS_INVALID);
  assert.equal(await fetch(), undefined);
  await confirm(await byPassword());
  assert.ok(await fetch());
  // No refused proof has ended a login, and an accepted one is not used up.
  await refresh(phone);
  await refresh(tablet);
});

test("wrong passwords as proof lock the account like failed logins", async () => {
  const { userName } = await one.register();
  const phone = await one.login(userName);
  const { qrLoginId } = await scannedBy(phone, "desk");
  const confirm = async (password?: string) =>
    auth.confirmQrLogin({ qrLoginId, proof: await byPassword(password) }, one.as(phone));
  for (let n = 0; n < 5; n++) await refused(confirm("wrong"), ErrorReason.CREDENTIALS_INVALID);
  await refused(confirm(), ErrorReason.ACCOUNT_LOCKED);
});

test("a proof follows the rules of Refresh: a retry is accepted, any other reuse ends the login", async () => {
  const phone = await one.login((await one.register()).userName);
  const next = await refresh(phone);
  // The answer of the refresh may have been lost.
  await logInBy(phone, "first");
  const last = await refresh(next);
  const { qrLoginId } = await scannedBy(last, "second");
  const reuse = auth.confirmQrLogin({ qrLoginId, proof: proofBy(phone) }, one.as(last));
  await refused(reuse, ErrorReason.REFRESH_TOKEN_INVALID);
  await isOver(last);
});

const ends: Record<string, (given: Awaited<ReturnType<typeof phoneAndDesk>>) => Promise<unknown>> =
  {
    "a logout": ({ phone }) => auth.logout({}, one.as(phone)),
    "a revocation": ({ phone }) => devices.revokeDevice({ deviceId: "phone" }, one.as(phone)),
    "reuse of a refresh token": async ({ phone }) => {
      await refresh(await refresh(phone));
      await isOver(phone);
    },
    "another login of the phone": ({ userName }) => one.login(userName),
    "the user's new password": async ({ phone }) => {
      const [newPassword, oldPassword] = await one.encryptAll(
        "another horse altogether",
        GOOD_PASSWORD,
      );
      await auth.changePassword({ newPassword, oldPassword }, one.as(phone));
    },
  };

for (const [name, end] of Object.entries(ends)) {
  test(`${name} ends the logins that the phone confirmed`, async () => {
    const given = await phoneAndDesk();
    await end(given);
    await isOver(given.desk);
    const { revocations } = await one.sessions.listRevocations({ cursor: 0n });
    const { loginId } = await one.verifier.verify(given.desk.accessToken);
    assert.ok(revocations.some((ended) => ended.loginId === loginId));
  });
}

test("no login by QR code escapes a logout of the phone that races with its start", async () => {
  const { userName, userId } = await one.register();
  for (let round = 0; round < 5; round++) {
    const phone = await one.login(userName);
    await logInBy(phone);
    // The new login replaces the one that the phone has confirmed before.
    const { qrLoginId, fetch } = await scannedBy(phone, "desk");
    await auth.confirmQrLogin({ qrLoginId, proof: proofBy(phone) }, one.as(phone));
    const [fetched, out] = await Promise.allSettled([fetch(), auth.logout({}, one.as(phone))]);
    assert.equal(out.status, "fulfilled");
    if (fetched.status === "rejected")
      await refused(Promise.reject(fetched.reason), ErrorReason.QR_LOGIN_STEP);
    const sql = "SELECT 1 FROM auth.login WHERE user_id = $1 AND revoked_at IS NULL";
    assert.equal((await pool.query(sql, [userId])).rowCount, 0);
  }
});

test("a login by QR code ends when the login that confirmed it has expired", async () => {
  const { userId, desk } = await phoneAndDesk();
  clock.advance(15 * DAY_MS);
  const kept = await refresh(desk);
  clock.advance(15 * DAY_MS);
  await isOver(kept);
  assert.equal(await reasonOfEnd(userId, "desk"), "confirmer");
});

test("clean-up ends the logins that an expired one confirmed", async (t) => {
  const { desk } = await phoneAndDesk();
  clock.advance(15 * DAY_MS);
  const fresh = await refresh(desk);
  const { loginId } = await one.verifier.verify(fresh.accessToken);
  clock.advance(15 * DAY_MS);
  const database = openDatabase(pool);
  t.after(() => database.$disconnect());
  const ended: string[] = [];
  const notifier = {
    notify: (all: readonly Revocation[]) => void ended.push(...all.map((each) => each.loginId)),
  };
  const config = { ...defaultsOf(authConfig), keyEncryptionKey: TEST_KEY };
  const notices = createSecurityNotices({ ...one, database, log: quiet });
  await createLogins({ config, database, clock, log: quiet, notices, notifier }).deleteExpired();
  assert.ok(ended.includes(loginId));
  await isOver(fresh);
});

test("a chain of logins by QR code ends with its first one", async () => {
  const { phone } = await phoneAndDesk();
  const second = await logInBy(phone, "second", DeviceClass.MOBILE);
  const { qrLoginId, fetch } = await scannedBy(second, "third");
  const confirm = (proof: object) => auth.confirmQrLogin({ qrLoginId, proof }, one.as(second));
  await refused(confirm(proofBy(second)), ErrorReason.PROOF_REQUIRED);
  await confirm(await byPassword());
  const third = (await fetch())!;
  await auth.logout({}, one.as(phone));
  await isOver(third);
  await isOver(second);
});

test("a login that its user keeps by the password outlives the one that confirmed it", async () => {
  const { phone, desk } = await phoneAndDesk();
  const keep = (proof?: object) => auth.keepQrLogin({ proof }, one.as(desk));
  await refused(keep(), ErrorReason.PROOF_REQUIRED);
  await refused(keep(proofBy(desk)), ErrorReason.PROOF_REQUIRED);
  await refused(keep(await byPassword("wrong")), ErrorReason.CREDENTIALS_INVALID);
  assert.deepEqual((await idsOf(phone)).toSorted(), [
    ["desk", "phone"],
    ["phone", ""],
  ]);
  await keep(await byPassword());
  await keep(await byPassword());
  assert.deepEqual((await idsOf(phone)).toSorted(), [
    ["desk", ""],
    ["phone", ""],
  ]);
  await auth.logout({}, one.as(phone));
  await refresh(desk);
});

test("without a password a code of purpose PROVE keeps the login", async () => {
  const phone = randomPhoneNumber();
  const codeFor = async (purpose: SmsPurpose, tokens?: Tokens) => {
    clock.advance(61_000);
    await auth.sendSmsCode({ phone, purpose }, tokens && one.as(tokens));
    return codeOf(one.messages.at(-1)!);
  };
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const code = await codeFor(SmsPurpose.REGISTER);
  const { tokens } = await auth.registerByPhone({ phone, code, device });
  const desk = await logInBy(tokens!);
  const keep = (value: string) =>
    auth.keepQrLogin({ proof: { kind: { case: "code", value } } }, one.as(desk));
  const proof = await codeFor(SmsPurpose.PROVE, desk);
  const wrong = proof === "000000" ? "000001" : "000000";
  await refused(keep(wrong), ErrorReason.SMS_CODE_INVALID);
  await keep(proof);
  await auth.logout({}, one.as(tokens!));
  await refresh(desk);
});

test("a login by QR code ends no other login by its refresh token; by the password it stays", async () => {
  const { phone, desk } = await phoneAndDesk();
  const others = (proof: object) => devices.revokeOtherDevices({ proof }, one.as(desk));
  await refused(others(proofBy(desk)), ErrorReason.PROOF_REQUIRED);
  const single = devices.revokeDevice({ deviceId: "phone", proof: proofBy(desk) }, one.as(desk));
  await refused(single, ErrorReason.PROOF_REQUIRED);
  const proof = await byPassword();
  await devices.revokeDevice({ deviceId: "phone", proof }, one.as(desk));
  await isOver(phone);
  assert.deepEqual(await idsOf(desk), [["desk", ""]]);
  await refresh(desk);
});
