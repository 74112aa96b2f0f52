import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import type { LoggedInDevice } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { GOOD_PASSWORD, proofBy, refused, startTestAuth, type TestAuth } from "./auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });

/** All devices of the caller, read in pages of `pageSize`. */
async function list(one: TestAuth, tokens: Tokens, pageSize = 0): Promise<LoggedInDevice[]> {
  const all: LoggedInDevice[] = [];
  let pageToken = "";
  do {
    const page = await one.devices.listDevices({ pageSize, pageToken }, one.as(tokens));
    assert.ok(page.devices.length <= (pageSize || 200));
    all.push(...page.devices);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return all;
}
const idsOf = async (one: TestAuth, tokens: Tokens) =>
  (await list(one, tokens)).map(({ device }) => device!.deviceId);

/** A user with a phone and a laptop. */
async function setUp(t: Parameters<typeof startTestAuth>[0]["t"]) {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  const phone = await one.login(userName, "phone");
  one.clock.advance(60_000);
  const laptop = await one.login(userName, "laptop");
  return { one, userName, phone, laptop };
}

test("devices are listed with their details, latest login first", async (t) => {
  const { one, phone, laptop } = await setUp(t);
  const [first, second] = await list(one, phone);
  assert.equal(first!.device!.deviceId, "laptop");
  assert.equal(first!.device!.deviceClass, DeviceClass.MOBILE);
  assert.deepEqual([first!.current, second!.current], [false, true]);
  assert.equal(first!.loggedInAtMs, BigInt(one.clock.now()));
  one.clock.advance(60_000);
  await one.auth.refresh({ refreshToken: phone.refreshToken });
  const [, seen] = await list(one, laptop);
  assert.equal(seen!.device!.deviceId, "phone");
  assert.equal(seen!.lastSeenAtMs, BigInt(one.clock.now()));
  assert.equal(seen!.loggedInAtMs, BigInt(one.clock.now() - 120_000));
});

test("a device with an expired refresh token and a logged-out device are not listed", async (t) => {
  const { one, userName, phone, laptop } = await setUp(t);
  await one.auth.logout({}, one.as(phone));
  assert.deepEqual(await idsOf(one, laptop), ["laptop"]);
  one.clock.advance(30 * 86_400_000);
  const fresh = await one.login(userName, "tablet");
  assert.deepEqual(await idsOf(one, fresh), ["tablet"]);
});

test("later logins hide no login: each is listed, or it has ended", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName, userId } = await one.register();
  const attacker = await one.login(userName, "attacker");
  // Logins of an earlier version may exceed the maximum of 200.
  await pool.query(
    `WITH later AS (
       INSERT INTO auth.login (login_id, user_id, device_id, device_class, device_name,
         client_version, created_at, last_refreshed_at, access_expires_at, last_seen_at)
       SELECT gen_random_uuid(), $1, 'later-' || n, 3, '', '', at, at, at + interval '900 s',
         at - n * interval '1 ms'
       FROM generate_series(1, 250) AS n, (SELECT $2::timestamptz AS at) RETURNING *)
     INSERT INTO auth.refresh_token (token_hash, login_id, created_at, expires_at)
     SELECT sha256(login_id::text::bytea), login_id, created_at, created_at + interval '30 days'
     FROM later`,
    [userId, new Date(one.clock.now())],
  );
  const all = await idsOf(one, attacker);
  assert.equal(all.length, 251);
  assert.equal(new Set(all).size, 251);
  assert.ok(all.includes("attacker"));
  // All of them began in the same millisecond.
  const pages = await list(one, attacker, 7);
  assert.deepEqual(
    pages.map(({ device }) => device!.deviceId),
    all,
  );

  one.clock.advance(1_000);
  const latest = await one.login(userName, "latest");
  const left = await idsOf(one, latest);
  assert.equal(left.length, 200);
  const kept = ["attacker", ...Array.from({ length: 198 }, (_, n) => `later-${n + 1}`)];
  assert.deepEqual(left, ["latest", ...all.filter((id) => kept.includes(id))]);
});

test("a page begins after the last login of the page before, even when that login has ended", async (t) => {
  const { one, userName, phone, laptop } = await setUp(t);
  await one.login(userName, "tablet");
  const as = one.as(phone);
  const { nextPageToken: pageToken } = await one.devices.listDevices({ pageSize: 2 }, as);
  await one.auth.logout({}, one.as(laptop));
  const { devices, nextPageToken } = await one.devices.listDevices({ pageToken }, as);
  assert.deepEqual([devices.map(({ device }) => device!.deviceId), nextPageToken], [["phone"], ""]);
  for (const odd of ["x", "MTIz", `${pageToken}x`, "c29tZSB0ZXh0"]) {
    const error = await one.devices.listDevices({ pageToken: odd }, as).catch((e: unknown) => e);
    const { reason, field } = detailOf(error)!;
    assert.deepEqual([reason, field], [ErrorReason.INVALID_ARGUMENT, "page_token"], odd);
  }
});

test("a login beyond the maximum ends the one that was seen least recently", async (t) => {
  const one = await startTestAuth({ url, t, config: { maxLogins: 2 } });
  const { userName } = await one.register();
  const attacker = await one.login(userName, "attacker");
  const stranger = await one.login((await one.register()).userName, "theirs");
  one.clock.advance(1_000);
  const phone = await one.login(userName, "phone");
  one.clock.advance(1_000);
  await one.auth.refresh({ refreshToken: attacker.refreshToken });
  one.clock.advance(1_000);
  const laptop = await one.login(userName, "laptop");
  assert.deepEqual(await idsOf(one, laptop), ["laptop", "attacker"]);
  const late = one.auth.refresh({ refreshToken: phone.refreshToken });
  await refused(late, ErrorReason.REFRESH_TOKEN_INVALID);
  const { revocations } = await one.sessions.listRevocations({ cursor: 0n });
  const { loginId } = await one.verifier.verify(phone.accessToken);
  assert.ok(revocations.some((ended) => ended.loginId === loginId));
  // A login that replaces one of the same device ends no other.
  await one.login(userName, "laptop");
  assert.deepEqual(await idsOf(one, attacker), ["laptop", "attacker"]);
  await one.auth.refresh({ refreshToken: stranger.refreshToken });
});

test("only the owner can rename a device", async (t) => {
  const { one, phone, laptop } = await setUp(t);
  await one.devices.renameDevice({ deviceId: "laptop", deviceName: "Büro" }, one.as(phone));
  assert.equal((await list(one, laptop))[0]!.device!.deviceName, "Büro");
  const stranger = await one.login((await one.register()).userName, "theirs");
  const rename = (deviceId: string, deviceName: string) =>
    one.devices.renameDevice({ deviceId, deviceName }, one.as(stranger));
  await refused(rename("laptop", "mine"), ErrorReason.DEVICE_NOT_FOUND);
  await refused(rename("theirs", "a\u0000b"), ErrorReason.INVALID_ARGUMENT);
  await refused(rename("theirs", ""), ErrorReason.INVALID_ARGUMENT);
  assert.equal((await list(one, laptop))[0]!.device!.deviceName, "Büro");
});

test("a revoked device is logged out, the others stay; another user cannot revoke it", async (t) => {
  const { one, phone, laptop } = await setUp(t);
  const stranger = await one.login((await one.register()).userName, "theirs");
  const revoke = (tokens: Tokens) =>
    one.devices.revokeDevice({ deviceId: "laptop", proof: proofBy(tokens) }, one.as(tokens));
  await refused(revoke(stranger), ErrorReason.DEVICE_NOT_FOUND);
  await revoke(phone);
  const notices = async () =>
    (await one.devices.listSecurityNotices({}, one.as(phone))).notices.length;
  const before = await notices();
  await revoke(phone);
  await one.devices.revokeOtherDevices({ proof: proofBy(phone) }, one.as(phone));
  assert.equal(await notices(), before, "a repeat sends no notice");
  const unknown = { deviceId: "never", proof: proofBy(phone) };
  await refused(one.devices.revokeDevice(unknown, one.as(phone)), ErrorReason.DEVICE_NOT_FOUND);
  const late = one.auth.refresh({ refreshToken: laptop.refreshToken });
  await refused(late, ErrorReason.REFRESH_TOKEN_INVALID);
  assert.deepEqual(await idsOf(one, phone), ["phone"]);
});

test("revoking all other devices keeps the calling one logged in", async (t) => {
  const { one, userName, phone, laptop } = await setUp(t);
  await one.login(userName, "tablet");
  const proof = proofBy(laptop);
  const { revoked } = await one.devices.revokeOtherDevices({ proof }, one.as(laptop));
  assert.equal(revoked, 2);
  assert.deepEqual(await idsOf(one, laptop), ["laptop"]);
  const late = one.auth.refresh({ refreshToken: phone.refreshToken });
  await refused(late, ErrorReason.REFRESH_TOKEN_INVALID);
  await one.auth.refresh({ refreshToken: laptop.refreshToken });
});

test("an access token alone ends no other login; the password does, and a device ends its own", async (t) => {
  const { one, phone, laptop } = await setUp(t);
  const { revokeDevice, revokeOtherDevices } = one.devices;
  const other = { deviceId: "laptop" };
  await refused(revokeDevice(other, one.as(phone)), ErrorReason.PROOF_REQUIRED);
  await refused(revokeOtherDevices({}, one.as(phone)), ErrorReason.PROOF_REQUIRED);
  const proof = proofBy(laptop);
  const foreign = revokeDevice({ ...other, proof }, one.as(phone));
  await refused(foreign, ErrorReason.REFRESH_TOKEN_INVALID);
  const byPassword = async (password: string) =>
    ({ kind: { case: "password", value: await one.encrypt(password) } }) as const;
  const wrong = revokeDevice({ ...other, proof: await byPassword("wrong") }, one.as(phone));
  await refused(wrong, ErrorReason.CREDENTIALS_INVALID);
  const code = { kind: { case: "code", value: "123456" } } as const;
  const byCode = revokeDevice({ ...other, proof: code }, one.as(phone));
  await refused(byCode, ErrorReason.PROOF_REQUIRED);
  assert.deepEqual(await idsOf(one, phone), ["laptop", "phone"]);

  await revokeDevice({ ...other, proof: await byPassword(GOOD_PASSWORD) }, one.as(phone));
  assert.deepEqual(await idsOf(one, phone), ["phone"]);
  await revokeDevice({ deviceId: "phone" }, one.as(phone));
  const late = one.auth.refresh({ refreshToken: phone.refreshToken });
  await refused(late, ErrorReason.REFRESH_TOKEN_INVALID);
});
