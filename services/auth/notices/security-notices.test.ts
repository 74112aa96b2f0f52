import assert from "node:assert/strict";
import { after, test } from "node:test";
import { DeviceClass, SmsPurpose, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LoginMethod, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { GOOD_PASSWORD, proofBy, refused, startTestAuth } from "../auth.suite.ts";
import { openDatabase } from "../database.ts";
import { createSecurityNotices } from "./security-notices.ts";

const DAY_MS = 86_400_000;
const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, clock, devices } = one;
const database = openDatabase(pool);
after(() => database.$disconnect());
const notices = createSecurityNotices({ ...one, database, log: quiet });

const list = (tokens: Tokens, page: { pageSize?: number; pageToken?: string } = {}) =>
  devices.listSecurityNotices(page, one.as(tokens));
/** Kind, device and login method of each notice, oldest first. */
const eventsOf = async (tokens: Tokens) =>
  (await list(tokens)).notices
    .map(({ kind, deviceId, loginMethod }) => [
      SecurityNoticeKind[kind],
      deviceId,
      ...(loginMethod ? [LoginMethod[loginMethod]] : []),
    ])
    .toReversed();

test("a login is listed with its device, time and login method, for its user only", async () => {
  const { userName } = await one.register();
  const phone = await one.login(userName);
  clock.advance(60_000);
  await auth.login({
    userName,
    password: await one.encrypt(GOOD_PASSWORD),
    device: { deviceId: "laptop", deviceClass: DeviceClass.DESKTOP, deviceName: "Ana's laptop" },
  });
  const stranger = await one.login((await one.register()).userName, "theirs");
  const [latest, first] = (await list(phone)).notices;
  assert.equal(latest!.deviceName, "Ana's laptop");
  assert.equal(latest!.atMs, BigInt(clock.now()));
  assert.ok(BigInt(latest!.noticeId) > BigInt(first!.noticeId));
  assert.deepEqual(await eventsOf(phone), [
    ["DEVICE_LOGGED_IN", "phone", "PASSWORD"],
    ["DEVICE_LOGGED_IN", "laptop", "PASSWORD"],
  ]);
  assert.deepEqual(await eventsOf(stranger), [["DEVICE_LOGGED_IN", "theirs", "PASSWORD"]]);
});

test("a failed login leaves no notice, and a bot has none", async () => {
  const { userName, userId } = await one.register();
  const phone = await one.login(userName);
  const password = await one.encrypt("wrong");
  const device = { deviceId: "thief", deviceClass: DeviceClass.WEB };
  const guess = auth.login({ userName, password, device });
  await refused(guess, ErrorReason.CREDENTIALS_INVALID);
  assert.equal((await eventsOf(phone)).length, 1);
  await pool.query("UPDATE auth.account SET role = 'bot' WHERE user_id = $1", [userId]);
  await one.login(userName, "bot");
  const sql = "SELECT device_id FROM auth.security_notice WHERE user_id = $1";
  assert.deepEqual((await pool.query(sql, [userId])).rows, [{ device_id: "phone" }]);
});

test("codes, QR codes, changed credentials, revocations and reuse are listed", async () => {
  const phone = randomPhoneNumber();
  const codeFor = async (purpose: SmsPurpose, tokens?: Tokens, to = phone) => {
    clock.advance(61_000);
    await auth.sendSmsCode({ phone: to, purpose }, tokens && one.as(tokens));
    return codeOf(one.messages.at(-1)!);
  };
  const device = (deviceId: string) => ({ deviceId, deviceClass: DeviceClass.MOBILE });
  const code = await codeFor(SmsPurpose.REGISTER);
  const tokens = (await auth.registerByPhone({ phone, code, device: device("phone") })).tokens!;
  const as = one.as(tokens);
  const login = { phone, code: await codeFor(SmsPurpose.LOGIN), device: device("tablet") };
  const tablet = (await auth.loginBySmsCode(login)).tokens!;

  const { qrLoginId, secret } = await auth.createQrLogin({ device: device("desk") });
  await auth.scanQrLogin({ qrLoginId }, as);
  const proof = proofBy(tokens);
  await auth.confirmQrLogin({ qrLoginId, proof }, as);
  const { qrLogin } = await auth.getQrLogin({ qrLoginId, secret, deviceId: "desk" });
  const kept = { kind: { case: "code", value: await codeFor(SmsPurpose.PROVE, tokens) } } as const;
  await auth.keepQrLogin({ proof: kept }, one.as(qrLogin!.tokens!));
  await devices.revokeDevice({ deviceId: "desk", proof }, as);

  const refresh = async ({ refreshToken }: Tokens) =>
    (await auth.refresh({ refreshToken })).tokens!;
  await refresh(await refresh(tablet));
  await refused(refresh(tablet), ErrorReason.REFRESH_TOKEN_INVALID);
  const again = { phone, code: await codeFor(SmsPurpose.LOGIN), device: device("tablet") };
  await auth.loginBySmsCode(again);
  await devices.revokeOtherDevices({ proof }, as);

  const proofCode = await codeFor(SmsPurpose.PROVE, tokens);
  await auth.changePassword({ newPassword: await one.encrypt(GOOD_PASSWORD), proofCode }, as);
  const next = randomPhoneNumber();
  const bind = await codeFor(SmsPurpose.BIND, tokens, next);
  const password = await one.encrypt(GOOD_PASSWORD);
  await auth.bindPhone({ phone: next, code: bind, password }, as);
  assert.deepEqual(await eventsOf(tokens), [
    ["DEVICE_LOGGED_IN", "phone", "SMS_CODE"],
    ["DEVICE_LOGGED_IN", "tablet", "SMS_CODE"],
    ["QR_LOGIN_CONFIRMED", "phone"],
    ["DEVICE_LOGGED_IN", "desk", "QR_CODE"],
    ["QR_LOGIN_KEPT", "desk"],
    ["DEVICE_REVOKED", "desk"],
    ["REFRESH_TOKEN_REUSED", "tablet"],
    ["DEVICE_LOGGED_IN", "tablet", "SMS_CODE"],
    ["OTHER_DEVICES_REVOKED", "phone"],
    ["PASSWORD_CHANGED", "phone"],
    ["PHONE_CHANGED", "phone"],
  ]);
});

test("notices are listed in pages, newest first, and a foreign page token shows no other user's", async () => {
  const { userName } = await one.register();
  let tokens = await one.login(userName, "d0");
  for (let n = 1; n < 5; n++) tokens = await one.login(userName, `d${n}`);
  const found: string[] = [];
  let pageToken = "";
  do {
    const page = await list(tokens, { pageSize: 2, pageToken });
    found.push(...page.notices.map(({ deviceId }) => deviceId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(found, ["d4", "d3", "d2", "d1", "d0"]);

  const stranger = await one.login((await one.register()).userName, "theirs");
  const { nextPageToken } = await list(tokens, { pageSize: 2 });
  assert.deepEqual((await list(stranger, { pageToken: nextPageToken })).notices, []);
  await refused(list(stranger, { pageToken: "x'" }), ErrorReason.INVALID_ARGUMENT);
});

test("of a user's notices the last 1,000 are kept", async () => {
  const { userName, userId } = await one.register();
  await pool.query(
    `INSERT INTO auth.security_notice
       (user_id, kind, device_id, device_name, coarse_address, login_method, at)
     SELECT $1, 2, 'old-' || n, '', '', 1, $2 FROM generate_series(1, 1000) AS n`,
    [userId, new Date(clock.now())],
  );
  await one.login(userName, "latest");
  const sql = `SELECT count(*)::int AS kept, bool_or(device_id = 'latest') AS latest,
    bool_or(device_id = 'old-1') AS oldest FROM auth.security_notice WHERE user_id = $1`;
  const { rows } = await pool.query(sql, [userId]);
  assert.deepEqual(rows, [{ kept: 1_000, latest: true, oldest: false }]);
});

test("a notice ends with its account, or after 30 days", async () => {
  const { userName, userId } = await one.register();
  const early = await one.login(userName, "early");
  clock.advance(15 * DAY_MS);
  const late = await one.login(userName, "late");
  clock.advance(15 * DAY_MS + 1);
  const { refreshToken } = late;
  const fresh = (await auth.refresh({ refreshToken })).tokens!;
  assert.deepEqual(await eventsOf(fresh), [["DEVICE_LOGGED_IN", "late", "PASSWORD"]]);
  const stored = async () => {
    const sql = "SELECT device_id FROM auth.security_notice WHERE user_id = $1";
    return (await pool.query(sql, [userId])).rows.map(({ device_id }) => device_id);
  };
  await notices.deleteExpired();
  assert.deepEqual(await stored(), ["late"]);
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, one.as(fresh));
  assert.deepEqual(await stored(), []);
  const { refreshToken: expired } = early;
  await refused(auth.refresh({ refreshToken: expired }), ErrorReason.REFRESH_TOKEN_INVALID);
});

test("while the registry cannot tell where a user is, a notice goes to all known instances", async (t) => {
  const locate = () => Promise.reject(new Error("away"));
  const registry = { ...one.registry, locate };
  const blind = createSecurityNotices({ ...one, registry, database, log: quiet });
  const instance = { instanceId: "connect-7", service: "connect", address: "", publicAddress: "" };
  const lease = await one.registry.announce({ ...instance, load: 0 }, () => {});
  t.after(() => lease.release());
  const received = Promise.withResolvers<Uint8Array>();
  const consumer = await one.bus.consume("connect-7", async (body) => received.resolve(body));
  t.after(() => consumer.close());
  const { userId } = await one.register();
  const event = { userId, kind: SecurityNoticeKind.PASSWORD_CHANGED };
  blind.send(await database.$transaction((tx) => blind.record(tx, event)));
  assert.ok((await received.promise).length > 0);
});
