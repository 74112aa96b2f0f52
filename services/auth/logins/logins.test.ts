import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DeviceClass, DeviceSchema, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused, startTestAuth, TEST_KEY, type TestAuth } from "../auth.suite.ts";
import { authConfig } from "../config.ts";
import { type Account, type Database, openDatabase } from "../database.ts";
import { createSecurityNotices } from "../notices/security-notices.ts";
import type { LoginMethod } from "./login-opening.ts";
import { createLogins } from "./logins.ts";

const { url, pool } = await startTestPostgres({ after });

const refresh = async (one: TestAuth, refreshToken: string) =>
  (await one.auth.refresh({ refreshToken })).tokens!;
const loginOf = async (one: TestAuth, accessToken: string) =>
  (await one.verifier.verify(accessToken)).loginId;
const revoked = async (one: TestAuth, cursor = 0n) =>
  (await one.sessions.listRevocations({ cursor })).revocations.map(({ loginId }) => loginId);

/** Selects the tokens with an unused refresh token. */
async function liveOf(issued: readonly Tokens[]): Promise<Tokens[]> {
  const hashOf = ({ refreshToken }: Tokens) => createHash("sha256").update(refreshToken).digest();
  const { rows } = await pool.query<{ token_hash: Buffer }>(
    "SELECT token_hash FROM auth.refresh_token WHERE token_hash = ANY($1) AND used_at IS NULL",
    [issued.map(hashOf)],
  );
  return issued.filter((tokens) =>
    rows.some(({ token_hash }) => token_hash.equals(hashOf(tokens))),
  );
}

const loginsOn = (one: TestAuth, database: Database) => {
  const { clock } = one;
  const config = { ...defaultsOf(authConfig), keyEncryptionKey: TEST_KEY };
  const notices = createSecurityNotices({ ...one, database, log: quiet });
  return createLogins({ config, database, clock, log: quiet, notices, notifier: { notify() {} } });
};

test("a refresh returns new tokens of the same login and consumes the old refresh token", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  one.clock.advance(600_000);
  const second = await refresh(one, first.refreshToken);
  assert.notEqual(second.refreshToken, first.refreshToken);
  assert.equal(await loginOf(one, second.accessToken), await loginOf(one, first.accessToken));
  assert.equal(second.accessTokenExpiresAtMs, BigInt(one.clock.now() + 900_000));
  await refresh(one, second.refreshToken);
  await refused(refresh(one, first.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
});

test("late reuse of a refresh token ends the login", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  const second = await refresh(one, first.refreshToken);
  one.clock.advance(60_001);
  await refused(refresh(one, first.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(refresh(one, second.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  assert.ok((await revoked(one)).includes(await loginOf(one, second.accessToken)));
});

test("a refresh whose answer was lost is retried within the grace time", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  const lost = await refresh(one, first.refreshToken);
  one.clock.advance(30_000);
  const lostToo = await refresh(one, first.refreshToken);
  one.clock.advance(30_000);
  const answered = await refresh(one, first.refreshToken);
  assert.deepEqual(await liveOf([lost, lostToo, answered]), [answered]);
  assert.equal(await loginOf(one, answered.accessToken), await loginOf(one, first.accessToken));
  const next = await refresh(one, answered.refreshToken);
  assert.ok(!(await revoked(one)).includes(await loginOf(one, next.accessToken)));
});

test("a retry does not extend the grace time", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  await refresh(one, first.refreshToken);
  one.clock.advance(60_000);
  const second = await refresh(one, first.refreshToken);
  one.clock.advance(1);
  await refused(refresh(one, first.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(refresh(one, second.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
});

test("reuse within the grace time ends the login once the successor was used", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  await refresh(one, first.refreshToken);
  const second = await refresh(one, first.refreshToken);
  const third = await refresh(one, second.refreshToken);
  await refused(refresh(one, first.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(refresh(one, third.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  assert.ok((await revoked(one)).includes(await loginOf(one, third.accessToken)));
});

test("a replaced successor ends the login: its answer arrived, so another party retried", async (t) => {
  const one = await startTestAuth({ url, t });
  const stolen = await one.login((await one.register()).userName);
  const owners = await refresh(one, stolen.refreshToken);
  const thiefs = await refresh(one, stolen.refreshToken);
  await refused(refresh(one, owners.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(refresh(one, thiefs.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  assert.ok((await revoked(one)).includes(await loginOf(one, thiefs.accessToken)));
});

test("concurrent refreshes with one token, on two instances: one successor is live", async (t) => {
  const clock = new ManualClock();
  const one = await startTestAuth({ url, t, clock });
  const two = await startTestAuth({ url, t, clock });
  const { refreshToken } = await one.login((await one.register()).userName);
  const issued = await Promise.all(
    Array.from({ length: 12 }, (_, n) => refresh(n % 2 ? one : two, refreshToken)),
  );
  const live = await liveOf(issued);
  assert.equal(live.length, 1);
  await refresh(two, live[0]!.refreshToken);
});

test("concurrent refreshes with a token and its successor: the login ends or one is live", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  for (let round = 0; round < 5; round++) {
    const first = await one.login(userName);
    const second = await refresh(one, first.refreshToken);
    const outcomes = await Promise.allSettled([
      refresh(one, first.refreshToken),
      refresh(one, second.refreshToken),
    ]);
    // Whichever is second proves that two parties hold tokens of this login.
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    assert.ok((await revoked(one)).includes(await loginOf(one, first.accessToken)));
  }
});

test("a refresh whose caller has gone while it waited uses no token", async (t) => {
  const one = await startTestAuth({ url, t });
  const { refreshToken } = await one.login((await one.register()).userName);
  const issuance = { accessExpiresAtMs: one.clock.now() + 900_000, coarseAddress: "" };
  const gone = loginsOn(one, openDatabase(pool)).rotate(
    refreshToken,
    issuance,
    AbortSignal.abort(new Error("gone")),
  );
  await assert.rejects(gone, /gone/);
  const tokens = await refresh(one, refreshToken);
  assert.deepEqual(await liveOf([tokens]), [tokens]);
  const { rows } = await pool.query(
    "SELECT count(*)::int AS issued FROM auth.refresh_token WHERE login_id = $1",
    [await loginOf(one, tokens.accessToken)],
  );
  assert.deepEqual(rows, [{ issued: 2 }]);
});

test("an expired or invented refresh token is refused", async (t) => {
  const one = await startTestAuth({ url, t });
  const tokens = await one.login((await one.register()).userName);
  one.clock.advance(30 * 86_400_000);
  await refused(refresh(one, tokens.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(refresh(one, "made-up-refresh-token"), ErrorReason.REFRESH_TOKEN_INVALID);
});

test("an access token expires after 15 minutes", async (t) => {
  const one = await startTestAuth({ url, t });
  const tokens = await one.login((await one.register()).userName);
  one.clock.advance(899_000);
  await one.verifier.verify(tokens.accessToken);
  one.clock.advance(1_000);
  await refused(one.verifier.verify(tokens.accessToken), ErrorReason.TOKEN_EXPIRED);
  await refused(one.auth.logout({}, one.as(tokens)), ErrorReason.TOKEN_EXPIRED);
});

test("logout revokes the refresh token and notifies the other services", async (t) => {
  // Later than the other tests, whose ended logins a poll would return too.
  const one = await startTestAuth({ url, t, clock: new ManualClock(Date.UTC(2026, 5, 1)) });
  const tokens = await one.login((await one.register()).userName);
  const other = await one.login((await one.register()).userName);
  const before = await one.sessions.listRevocations({ cursor: 0n });
  one.clock.advance(60_000);
  await one.auth.logout({}, one.as(tokens));
  await one.auth.logout({}, one.as(tokens));
  const answer = await one.sessions.listRevocations({ cursor: before.nextCursor });
  assert.deepEqual(
    answer.revocations.map(({ loginId, expiresAtMs }) => [loginId, expiresAtMs]),
    [[await loginOf(one, tokens.accessToken), tokens.accessTokenExpiresAtMs]],
  );
  assert.equal(answer.nextCursor, BigInt(one.clock.now()));
  await refused(refresh(one, tokens.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refresh(one, other.refreshToken);
});

test("a poll returns a revocation that was committed late", async (t) => {
  const one = await startTestAuth({ url, t });
  const early = await one.login((await one.register()).userName);
  const late = await one.login((await one.register()).userName);
  const lateId = await loginOf(one, late.accessToken);
  const lateAt = new Date(one.clock.now());
  one.clock.advance(3_000);
  await one.auth.logout({}, one.as(early));
  const { nextCursor } = await one.sessions.listRevocations({ cursor: 0n });
  await pool.query("UPDATE auth.login SET revoked_at = $1 WHERE login_id = $2", [lateAt, lateId]);
  assert.ok((await revoked(one, nextCursor)).includes(lateId));
});

test("a fast clock on another instance hides no revocation", async (t) => {
  const one = await startTestAuth({ url, t });
  const ahead = await one.login((await one.register()).userName);
  await pool.query("UPDATE auth.login SET revoked_at = $1 WHERE login_id = $2", [
    new Date(one.clock.now() + 300_000),
    await loginOf(one, ahead.accessToken),
  ]);
  const { nextCursor } = await one.sessions.listRevocations({ cursor: 0n });
  assert.ok(nextCursor <= BigInt(one.clock.now()));
});

test("an ended login is listed while its access tokens are valid", async (t) => {
  const one = await startTestAuth({ url, t });
  const tokens = await one.login((await one.register()).userName);
  const loginId = await loginOf(one, tokens.accessToken);
  await one.auth.logout({}, one.as(tokens));
  one.clock.advance(899_999);
  assert.ok((await revoked(one)).includes(loginId));
  one.clock.advance(1);
  assert.ok(!(await revoked(one)).includes(loginId));
});

test("after the clock stepped back, an ended login is listed until all its tokens expired", async (t) => {
  const one = await startTestAuth({ url, t });
  const first = await one.login((await one.register()).userName);
  one.clock.step(-3_600_000);
  const second = await refresh(one, first.refreshToken);
  assert.equal(second.accessTokenExpiresAtMs, BigInt(one.clock.now() + 900_000));
  await one.auth.logout({}, one.as(second));
  one.clock.advance(900_001);
  assert.ok((await revoked(one)).includes(await loginOf(one, first.accessToken)));
});

test("a login ends only the older login of the same device", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  const phone = await one.login(userName, "phone");
  const laptop = await one.login(userName, "laptop");
  const stranger = await one.login((await one.register()).userName, "phone");
  await one.login(userName, "phone");
  await refused(refresh(one, phone.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  assert.ok((await revoked(one)).includes(await loginOf(one, phone.accessToken)));
  await refresh(one, laptop.refreshToken);
  await refresh(one, stranger.refreshToken);
});

test("of concurrent logins of one device, one stays", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName, userId } = await one.register();
  await Promise.all(Array.from({ length: 8 }, () => one.login(userName, "phone")));
  const sql = "SELECT count(*) FROM auth.login WHERE user_id = $1 AND revoked_at IS NULL";
  assert.equal((await pool.query(sql, [userId])).rows[0].count, "1");
});

test("a login fails when its credential was changed after authentication", async (t) => {
  const one = await startTestAuth({ url, t });
  const database = openDatabase(pool);
  const { open } = loginsOn(one, database);
  const { userId } = await one.register();
  const device = create(DeviceSchema, { deviceId: "late", deviceClass: DeviceClass.MOBILE });
  const accountNow = () =>
    database.account.findUniqueOrThrow({ where: { userId: BigInt(userId) } });
  const enter = (before: Account, method: LoginMethod) =>
    open(before, device, {
      method,
      accessExpiresAtMs: one.clock.now() + 900_000,
      coarseAddress: "",
    });
  for (const [method, changed, reason] of [
    ["password", "password_changed_at = now()", ErrorReason.CREDENTIALS_INVALID],
    ["sms", "phone_index = '\\x01'", ErrorReason.SMS_CODE_INVALID],
    ["qr", "password_changed_at = now()", ErrorReason.QR_LOGIN_STEP],
    ["qr", "phone_index = '\\x02'", ErrorReason.QR_LOGIN_STEP],
    ["sms", "state = 'disabled'", ErrorReason.ACCOUNT_DISABLED],
  ] as const) {
    const before = await accountNow();
    await enter(before, method);
    await pool.query(`UPDATE auth.account SET ${changed} WHERE user_id = $1`, [userId]);
    await refused(enter(before, method), reason);
  }
});

test("clean-up deletes ended and expired logins and tokens, and no others", async (t) => {
  const one = await startTestAuth({ url, t, clock: new ManualClock(Date.UTC(2027, 0, 1)) });
  const expired = await one.login((await one.register()).userName);
  const ended = await one.login((await one.register()).userName);
  await one.auth.logout({}, one.as(ended));
  const used = await one.login((await one.register()).userName);
  one.clock.advance(20 * 86_400_000);
  const live = await refresh(one, used.refreshToken);
  const liveId = await loginOf(one, live.accessToken);
  one.clock.advance(10 * 86_400_000 + 1);

  await loginsOn(one, openDatabase(pool)).deleteExpired();
  const sql = "SELECT login_id FROM auth.login WHERE created_at >= '2027-01-01'";
  assert.deepEqual((await pool.query(sql)).rows, [{ login_id: liveId }]);
  const tokens = await pool.query("SELECT 1 FROM auth.refresh_token WHERE login_id = $1", [liveId]);
  assert.equal(tokens.rowCount, 1);
  await refused(refresh(one, expired.refreshToken), ErrorReason.REFRESH_TOKEN_INVALID);
  await refresh(one, live.refreshToken);
});

test("the stored hash of a refresh token cannot be presented as a token", async (t) => {
  const one = await startTestAuth({ url, t });
  const { refreshToken } = await one.login((await one.register()).userName);
  const { rows } = await pool.query("SELECT token_hash FROM auth.refresh_token");
  const stored = rows.map(({ token_hash }) => token_hash.toString("base64url"));
  assert.ok(!stored.includes(refreshToken));
  for (const token of stored.slice(0, 3))
    await refused(refresh(one, token), ErrorReason.REFRESH_TOKEN_INVALID);
});

test("ended logins are listed in pages, without duplicates, ordered by their end", async (t) => {
  const one = await startTestAuth({ url, t, clock: new ManualClock(Date.UTC(2028, 0, 1)) });
  const { userId } = await one.register();
  const at = new Date(one.clock.now());
  // More than a page of logins ends in one millisecond: the page boundary falls between them.
  await pool.query(
    `INSERT INTO auth.login (login_id, user_id, device_id, device_class, device_name, client_version,
       created_at, last_refreshed_at, access_expires_at, revoked_at)
     SELECT gen_random_uuid(), $1, 'd' || n, 3, '', '', $2, $2, $2::timestamptz + interval '900 s',
       $2::timestamptz - (n / 1500) * interval '1 ms'
     FROM generate_series(1, 2500) AS n`,
    [userId, at],
  );
  const listed: string[] = [];
  const sizes: number[] = [];
  let pageToken = "";
  do {
    const cursor = BigInt(one.clock.now());
    const page = await one.sessions.listRevocations({ cursor, pageToken });
    sizes.push(page.revocations.length);
    listed.push(...page.revocations.map(({ loginId }) => loginId));
    assert.equal(page.nextCursor, cursor);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(sizes, [1_000, 1_000, 500]);
  assert.equal(new Set(listed).size, 2_500);
  await refused(one.sessions.listRevocations({ pageToken: "1.x'" }), ErrorReason.INVALID_ARGUMENT);
});
