import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { WhoMayAddMe } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { GOOD_PASSWORD, refused, startTestAuth } from "./auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after }, config: { passwordMinScore: 2 } });
const { auth, users, sessions, clock } = one;
const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };

test("a registered user logs in, and the token identifies the user", async () => {
  const { user } = await auth.register({
    userName: "Ana.Lima",
    displayName: " Ana ",
    password: await one.encrypt(GOOD_PASSWORD),
  });
  assert.equal(user?.userName, "Ana.Lima");
  assert.equal(user?.displayName, "Ana");
  assert.equal(user?.createdAtMs, BigInt(clock.now()));
  const answer = await auth.login({
    userName: "ANA.lima",
    password: await one.encrypt(GOOD_PASSWORD),
    device: { deviceId: "pixel", deviceClass: DeviceClass.MOBILE, deviceName: "Pixel" },
  });
  assert.deepEqual(answer.user, user);
  const tokens = answer.tokens!;
  assert.equal(tokens.accessTokenExpiresAtMs, BigInt(clock.now() + 900_000));
  assert.equal(tokens.refreshTokenExpiresAtMs, BigInt(clock.now() + 30 * 86_400_000));
  assert.equal(decodeProtectedHeader(tokens.accessToken).alg, "EdDSA");
  const claims = decodeJwt(tokens.accessToken);
  assert.deepEqual([claims.iss, claims.aud, claims.role], ["lucky", "lucky", "user"]);
  const caller = await one.verifier.verify(tokens.accessToken);
  assert.equal(caller.userId, user?.userId);
  assert.equal(caller.deviceId, "pixel");
  assert.equal(caller.deviceClass, DeviceClass.MOBILE);
  assert.equal(caller.role, "user");
  assert.equal(caller.expiresAtMs, Number(tokens.accessTokenExpiresAtMs));
});

test("the user name replaces an empty display name; blank names and control characters are refused", async () => {
  const password = await one.encrypt(GOOD_PASSWORD);
  const register = (displayName: string) =>
    auth.register({ userName: "plain", displayName, password });
  for (const displayName of ["  ", "\u3164 \u200b", "\u2800", "ding\u0007", "a\u202eb"]) {
    const error = await register(displayName).catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT, JSON.stringify(displayName));
    assert.match(String(error), /display_name: must/);
  }
  assert.equal((await register("")).user?.displayName, "plain");
});

test("control characters in other texts are refused, and a name with a control character is not found", async () => {
  const { userName } = await one.register();
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  for (const odd of [{ deviceName: "a\0b" }, { clientVersion: "1\0" }]) {
    const password = await one.encrypt(GOOD_PASSWORD);
    const login = auth.login({ userName, password, device: { ...device, ...odd } });
    await refused(login, ErrorReason.INVALID_ARGUMENT);
  }
  const key = { case: "userName", value: "a\0b" } as const;
  const tokens = await one.login(userName);
  await refused(one.users.getUser({ key }, one.as(tokens)), ErrorReason.USER_NOT_FOUND);
  const password = await one.encrypt(GOOD_PASSWORD);
  await refused(
    auth.login({ userName: "a\0b", password, device }),
    ErrorReason.CREDENTIALS_INVALID,
  );
});

test("another spelling of a user name is the same name", async () => {
  const { user } = await auth.register({
    userName: "Straße",
    password: await one.encrypt(GOOD_PASSWORD),
  });
  for (const userName of ["straße", "STRASSE", "Ｓｔｒａｓｓｅ"]) {
    const password = await one.encrypt(GOOD_PASSWORD);
    await refused(auth.register({ userName, password }), ErrorReason.USER_NAME_TAKEN);
    const found = await users.getUser(
      { key: { case: "userName", value: userName } },
      one.as(await one.login("Straße")),
    );
    assert.equal(found.user?.userId, user?.userId);
  }
});

test("concurrent registrations of one name: exactly one wins the race", async () => {
  const outcomes = await Promise.allSettled(
    ["racer", "Racer", "RACER"].map(async (userName) =>
      auth.register({ userName, password: await one.encrypt(GOOD_PASSWORD) }),
    ),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  for (const outcome of outcomes)
    if (outcome.status === "rejected")
      await refused(Promise.reject(outcome.reason), ErrorReason.USER_NAME_TAKEN);
});

test("weak passwords are refused; long passwords and other scripts are accepted", async () => {
  const register = async (userName: string, password: string) =>
    auth.register({ userName, password: await one.encrypt(password) });
  for (const password of ["", "short", "aaaaaaaaaaaa", "abababababab", "Weak-User", "Password1"])
    await refused(register("weak-user", password), ErrorReason.PASSWORD_WEAK);
  await refused(register("weak-user", "zebra ".repeat(22)), ErrorReason.PASSWORD_WEAK);
  await register("long-user", `zebra lantern ${"x".repeat(114)}`);
  await register("foreign-user", "пароль-пароль 密码");
});

test("a password in another Unicode normal form is the same password", async () => {
  const composed = "caf\u00e9 au lait";
  await auth.register({ userName: "cafe", password: await one.encrypt(composed) });
  const password = await one.encrypt(composed.normalize("NFD"));
  await auth.login({ userName: "cafe", password, device });
});

test("a password is stored only as its Argon2id hash", async () => {
  const { userId } = await one.register();
  const sql = "SELECT password_hash FROM auth.account WHERE user_id = $1";
  const { rows } = await pool.query(sql, [userId]);
  assert.match(rows[0].password_hash, /^\$argon2id\$v=19\$m=8192,t=1,p=1\$/);
});

test("an unknown user and a wrong password get the same error at the cost of one hash each", async () => {
  const { userName } = await one.register();
  const hashes = async () => {
    const text = await one.metrics.text();
    return Number(/password_hash_seconds_count\{work="verify"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const texts: string[] = [];
  for (const name of [userName, "nobody-at-all"]) {
    const before = await hashes();
    const password = await one.encrypt("not the password");
    const failure = await auth.login({ userName: name, password, device }).catch((e) => e);
    assert.equal(await hashes(), before + 1);
    await refused(Promise.reject(failure), ErrorReason.CREDENTIALS_INVALID);
    texts.push(ConnectError.from(failure).message);
  }
  assert.equal(texts[0], texts[1]);
});

test("concurrent password checks beyond the bound are refused with OVERLOADED, and later ones succeed", async (t) => {
  const slow = { hashMemoryKib: 65_536, hashIterations: 2, maxHashing: 2 };
  const tight = await startTestAuth({ url, t, config: slow });
  const { userName } = await tight.register();
  const attempts = await Promise.allSettled(
    Array.from({ length: 12 }, (_, n) => tight.login(userName, `device-${n}`)),
  );
  const rejected = attempts.filter((attempt) => attempt.status === "rejected");
  assert.ok(rejected.length > 0 && rejected.length < 12);
  for (const { reason } of rejected) await refused(Promise.reject(reason), ErrorReason.OVERLOADED);
  await tight.login(userName);
});

test("users are found by id, by name and in batches, in the requested order", async () => {
  const first = await one.register();
  const second = await one.register();
  const headers = one.as(await one.login(first.userName));
  const byId = await users.getUser({ key: { case: "userId", value: second.userId } }, headers);
  assert.equal(byId.user?.userName, second.userName);
  const userIds = [second.userId, "999999999999", first.userId, second.userId];
  const batch = await users.batchGetUsers({ userIds }, headers);
  assert.deepEqual(
    batch.users.map(({ userId }) => userId),
    [second.userId, first.userId],
  );
  const missing = users.getUser({ key: { case: "userId", value: "999999999999" } }, headers);
  await refused(missing, ErrorReason.USER_NOT_FOUND);
  await refused(users.batchGetUsers({ userIds }), ErrorReason.TOKEN_INVALID);
});

test("a user's changes that wait for a lock leave connections for the calls of others", async () => {
  const [ana, ben] = [await one.register(), await one.register()];
  const [asAna, asBen] = [
    one.as(await one.login(ana.userName)),
    one.as(await one.login(ben.userName)),
  ];
  const holder = await pool.connect();
  await holder.query("BEGIN");
  await holder.query("SELECT 1 FROM auth.account WHERE user_id = $1 FOR UPDATE", [ana.userId]);
  const changes = Array.from({ length: 20 }, (_, n) =>
    users.updateProfile({ signature: `change ${n}` }, asAna),
  );
  for (let n = 0; n < 20; n++) {
    await users.getUser({ key: { case: "userId", value: ana.userId } }, asBen);
    await users.updateProfile({ signature: `mine ${n}` }, asBen);
  }
  await holder.query("COMMIT");
  holder.release();
  await Promise.all(changes);
  const { profile } = await users.getMyProfile({}, asAna);
  assert.match(profile?.profile?.signature ?? "", /^change \d+$/);
});

test("a change of a profile depends on no stale fields, and none of many is lost", async (t) => {
  const two = await startTestAuth({ url, t, clock });
  const { userName } = await one.register();
  const as = one.as(await one.login(userName));
  const question = { whoMayAddMe: WhoMayAddMe.WITH_QUESTION, addQuestion: "Where?" };
  await users.updateProfile(question, as);
  assert.ok(
    (await users.updateProfile({}, as)).profile,
    "a request without fields changes nothing",
  );
  // Either order of these two leaves a question while one is required.
  const racing = await Promise.allSettled([
    users.updateProfile({ addQuestion: "" }, as),
    two.users.updateProfile({ whoMayAddMe: WhoMayAddMe.ANYONE }, as),
    users.updateProfile({ signature: "kept" }, as),
    two.users.updateProfile({ location: "kept too" }, as),
  ]);
  const { profile } = await users.getMyProfile({}, as);
  assert.deepEqual(
    racing.slice(1).map(({ status }) => status),
    ["fulfilled", "fulfilled", "fulfilled"],
  );
  assert.equal(profile?.profile?.signature, "kept");
  assert.equal(profile?.profile?.location, "kept too");
  assert.equal(profile?.profile?.whoMayAddMe, WhoMayAddMe.ANYONE);
});

test("CheckUsers returns the ids that exist", async () => {
  const { userId } = await one.register();
  const { userIds, disabledUserIds } = await sessions.checkUsers({
    userIds: ["42", userId, userId],
  });
  assert.deepEqual([userIds, disabledUserIds], [[userId], []]);
  const tooMany = Array.from({ length: 1_001 }, (_, n) => String(n + 1));
  await refused(sessions.checkUsers({ userIds: tooMany }), ErrorReason.INVALID_ARGUMENT);
});
