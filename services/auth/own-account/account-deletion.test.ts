import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Gender, WhoMayAddMe } from "#gen/lucky/user/v1/user_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../../test/backends/sms-gateway.ts";
import { GOOD_PASSWORD, refused, startTestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { auth, users, sessions } = one;

/** Creates an account with a value in every field; every text contains the word "secret". */
async function createFullAccount(userName: string) {
  const password = await one.encrypt(GOOD_PASSWORD);
  const { user } = await auth.register({ userName, displayName: "Secret Person", password });
  const { tokens } = await auth.login({
    userName,
    password: await one.encrypt(GOOD_PASSWORD),
    device: {
      deviceId: "phone",
      deviceClass: DeviceClass.MOBILE,
      deviceName: "secret phone",
      clientVersion: "secret 1",
    },
  });
  const as = one.as(tokens!);
  await users.updateProfile(
    {
      avatar: "secret.png",
      gender: Gender.FEMALE,
      birthday: { year: 1990, month: 1, day: 2 },
      location: "secret town",
      signature: "secret words",
      whoMayAddMe: WhoMayAddMe.WITH_QUESTION,
      addQuestion: "secret question",
      addAnswer: "secret answer",
      searchableByPhone: true,
      showBirthday: true,
      showLocation: true,
    },
    as,
  );
  return { userId: user!.userId, tokens: tokens!, as };
}

const rowOf = async (userId: string) =>
  (await pool.query("SELECT * FROM auth.account WHERE user_id = $1", [userId])).rows[0];

test("deletion erases all personal data: every column has its empty value", async () => {
  const { userId, as } = await createFullAccount("secret-ana");
  await pool.query(
    "UPDATE auth.account SET phone = '\\x01', phone_index = '\\x02' WHERE user_id = $1",
    [userId],
  );
  const before = await rowOf(userId);
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  const row = await rowOf(userId);
  // These columns may stay. The list forces a decision about every new column.
  const { user_id, created_at, state_changed_at, password_changed_at, ...rest } = row;
  assert.equal(user_id, userId);
  assert.deepEqual(created_at, before.created_at);
  assert.deepEqual(
    [state_changed_at, password_changed_at],
    [new Date(one.clock.now()), state_changed_at],
  );
  assert.deepEqual(rest, {
    user_name: `deleted-${userId}`,
    user_name_key: `deleted:${userId}`,
    display_name: "Deleted user",
    password_hash: null,
    role: "user",
    state: "deleted",
    phone: null,
    phone_index: null,
    avatar: "",
    gender: 0,
    birthday: null,
    location: null,
    signature: "",
    who_may_add_me: WhoMayAddMe.NOBODY,
    add_question: "",
    add_answer: null,
    searchable_by_name: false,
    searchable_by_phone: false,
    show_birthday: false,
    show_location: false,
  });
  const { rows: tables } = await pool.query<{ name: string }>(
    "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'auth'",
  );
  for (const { name } of tables) {
    const sql = `SELECT count(*) FROM ${name} AS t WHERE t::text ILIKE '%secret%'`;
    assert.equal((await pool.query(sql)).rows[0].count, "0", name);
  }
});

test("the tokens are revoked, and a login is refused like the login of an unknown user", async () => {
  const { userId, tokens, as } = await createFullAccount("secret-ben");
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  const { refreshToken } = tokens;
  await refused(auth.refresh({ refreshToken }), ErrorReason.REFRESH_TOKEN_INVALID);
  await refused(one.login("secret-ben"), ErrorReason.CREDENTIALS_INVALID);
  await refused(one.login(`deleted-${userId}`), ErrorReason.CREDENTIALS_INVALID);
  await refused(auth.deleteAccount({}, as), ErrorReason.TOKEN_REVOKED);
  const sql = "SELECT revoked_reason FROM auth.login WHERE user_id = $1";
  assert.deepEqual((await pool.query(sql, [userId])).rows, [{ revoked_reason: "deleted" }]);
});

test("other users see the user as deleted, and checkUsers does not return it", async () => {
  const { userId, as } = await createFullAccount("secret-eve");
  const other = one.as(await one.login((await one.register()).userName));
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  const found = await users.batchGetUsers({ userIds: [userId] }, other);
  const [user] = found.users;
  assert.equal(user?.deleted, true);
  assert.deepEqual([user?.userName, user?.displayName], [`deleted-${userId}`, "Deleted user"]);
  assert.equal(user?.avatar, "");
  assert.deepEqual((await sessions.checkUsers({ userIds: [userId] })).userIds, []);
});

test("the name becomes available, without the lock of failed logins", async () => {
  const { userId, as } = await createFullAccount("secret-name");
  const guess = await one.encrypt("wrong");
  await refused(auth.deleteAccount({ password: guess }, as), ErrorReason.CREDENTIALS_INVALID);
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  const password = await one.encrypt(GOOD_PASSWORD);
  const { user } = await auth.register({ userName: "Secret-Name", password });
  assert.notEqual(user?.userId, userId);
  await one.login("secret-name");
});

test("a user name similar to the stored name of a deleted account does not block the deletion", async () => {
  const { userId, as } = await createFullAccount("secret-joe");
  const userName = `deleted-${userId}`;
  await auth.register({ userName, password: await one.encrypt(GOOD_PASSWORD) });
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  assert.equal((await rowOf(userId)).state, "deleted");
  await one.login(userName);
});

test("deletion requires the password, or a code when the account has none", async () => {
  const { userId, as } = await createFullAccount("secret-kim");
  await refused(auth.deleteAccount({}, as), ErrorReason.CREDENTIALS_INVALID);
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.BIND }, as);
  const code = codeOf(one.messages.at(-1)!);
  await auth.bindPhone({ phone, code, password: await one.encrypt(GOOD_PASSWORD) }, as);
  await pool.query("UPDATE auth.account SET password_hash = NULL WHERE user_id = $1", [userId]);
  await refused(auth.deleteAccount({}, as), ErrorReason.SMS_CODE_INVALID);
  one.clock.advance(61_000);
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.PROVE }, as);
  await auth.deleteAccount({ proofCode: codeOf(one.messages.at(-1)!) }, as);
  assert.equal((await rowOf(userId)).state, "deleted");
});

test("wrong passwords count as they do at a login", async () => {
  const { as } = await createFullAccount("secret-lea");
  const guess = async (text: string) =>
    auth.deleteAccount({ password: await one.encrypt(text) }, as);
  for (let n = 0; n < 5; n++) await refused(guess("wrong"), ErrorReason.CREDENTIALS_INVALID);
  await refused(guess(GOOD_PASSWORD), ErrorReason.ACCOUNT_LOCKED);
  await refused(one.login("secret-lea"), ErrorReason.ACCOUNT_LOCKED);
});

test("the audit log records the deletion and its user, without an address", async () => {
  const { userId, as } = await createFullAccount("secret-max");
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as);
  const sql = "SELECT actor_id, action, detail, coarse_address FROM auth.audit WHERE user_id = $1";
  const { rows } = await pool.query(sql, [userId]);
  const action = AuditAction.ACCOUNT_DELETED;
  assert.deepEqual(rows, [{ actor_id: userId, action, detail: "", coarse_address: "" }]);
});
