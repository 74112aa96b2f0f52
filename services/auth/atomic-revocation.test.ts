import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { startTestPostgres } from "../../test/postgres.ts";
import { anyPhone, codeOf } from "../../test/sms.ts";
import { GOOD_PASSWORD, startTestAuth } from "./auth.suite.ts";

// A change and the end of the logins that it ends are one: whatever stops the one stops the other.
const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { admin, auth, clock } = one;
const OTHER = "another horse altogether";

async function somebody(role = "user") {
  const registered = await one.register();
  const sql = "UPDATE auth.account SET role = $2 WHERE user_id = $1";
  await pool.query(sql, [registered.userId, role]);
  const tokens = await one.login(registered.userName);
  return { ...registered, tokens, as: one.as(tokens) };
}
type Somebody = Awaited<ReturnType<typeof somebody>>;

const root = await somebody("admin");

// While the door is shut, no login of theirs can end.
await pool.query(`
  CREATE TABLE shut (user_id bigint);
  CREATE FUNCTION shut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.revoked_at IS NOT NULL AND EXISTS (SELECT FROM shut s WHERE s.user_id = NEW.user_id)
      THEN RAISE EXCEPTION 'shut'; END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER shut BEFORE UPDATE ON auth.login FOR EACH ROW EXECUTE FUNCTION shut();`);

/** What is stored of an account. */
async function stored(userId: string) {
  const rows = "SELECT * FROM auth.account WHERE user_id = $1";
  const logins =
    "SELECT count(*)::int AS live FROM auth.login WHERE user_id = $1 AND revoked_at IS NULL";
  const audit = "SELECT count(*)::int AS written FROM auth.audit WHERE user_id = $1";
  const all = await Promise.all([rows, logins, audit].map((sql) => pool.query(sql, [userId])));
  return all.flatMap((found) => found.rows);
}

/** A phone number bound to the account, and a code sent to it once more. */
async function withCode({ as }: Somebody, purpose: SmsPurpose) {
  const phone = anyPhone();
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.BIND }, as);
  const password = await one.encrypt(GOOD_PASSWORD);
  await auth.bindPhone({ phone, code: codeOf(one.messages.at(-1)!), password }, as);
  clock.advance(61_000);
  await auth.sendSmsCode({ phone, purpose });
  return { phone, code: codeOf(one.messages.at(-1)!) };
}

const changes: Record<string, (who: Somebody) => Promise<() => Promise<unknown>>> = {
  "a changed password":
    async ({ as }) =>
    async () => {
      const [newPassword, oldPassword] = await one.encryptAll(OTHER, GOOD_PASSWORD);
      return auth.changePassword({ newPassword, oldPassword }, as);
    },
  "a reset password": async (who) => {
    const proof = await withCode(who, SmsPurpose.RESET);
    return async () => auth.resetPassword({ ...proof, newPassword: await one.encrypt(OTHER) });
  },
  "a deleted account":
    async ({ as }) =>
    async () =>
      auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, as),
  "a disabled account":
    async ({ userId }) =>
    async () =>
      admin.disableAccount({ userId, reason: "test" }, root.as),
  "a forced logout":
    async ({ userId }) =>
    async () =>
      admin.forceLogout({ userId, reason: "test" }, root.as),
  "a password that an administrator sets":
    async ({ userId }) =>
    async () =>
      admin.setPassword({ userId, newPassword: await one.encrypt(OTHER), reason: "test" }, root.as),
  "another role":
    async ({ userId }) =>
    async () =>
      admin.grantRole({ userId, role: Role.OPERATOR, reason: "test" }, root.as),
};

for (const [name, prepare] of Object.entries(changes)) {
  test(`${name} and the end of the logins are one change`, async () => {
    const who = await somebody();
    await auth.login({
      userName: who.userName,
      password: await one.encrypt(GOOD_PASSWORD),
      device: { deviceId: "laptop", deviceClass: DeviceClass.DESKTOP },
    });
    const change = await prepare(who);
    const before = await stored(who.userId);
    await pool.query("INSERT INTO shut VALUES ($1)", [who.userId]);
    await assert.rejects(change());
    assert.deepEqual(await stored(who.userId), before);

    await pool.query("DELETE FROM shut");
    await change();
    const left = name === "a changed password" ? 1 : 0;
    assert.deepEqual((await stored(who.userId))[1], { live: left });
  });
}

test("a first administrator and the end of the logins are one change", async (t) => {
  const who = await somebody();
  await pool.query("UPDATE auth.account SET role = 'user'");
  const before = await stored(who.userId);
  await pool.query("INSERT INTO shut VALUES ($1)", [who.userId]);
  const config = { firstAdmin: who.userName };
  await assert.rejects(startTestAuth({ url, t, config }));
  assert.deepEqual(await stored(who.userId), before);

  await pool.query("DELETE FROM shut");
  await startTestAuth({ url, t, config });
  assert.deepEqual((await stored(who.userId))[1], { live: 0 });
});
