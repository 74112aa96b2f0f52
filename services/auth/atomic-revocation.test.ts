import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { DeviceClass, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { codeOf, randomPhoneNumber } from "../../test/backends/sms-gateway.ts";
import { GOOD_PASSWORD, proofBy, startTestAuth } from "./auth.suite.ts";

// A change and the end of the affected logins are one transaction: if one fails, both are rolled
// back.
const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { admin, auth, clock } = one;
const OTHER = "another horse altogether";

/** Registers a user with a role and logs the user in. */
async function loggedInUser(role = "user") {
  const registered = await one.register();
  const sql = "UPDATE auth.account SET role = $2 WHERE user_id = $1";
  await pool.query(sql, [registered.userId, role]);
  const tokens = await one.login(registered.userName);
  return { ...registered, tokens, as: one.as(tokens) };
}
type LoggedInUser = Awaited<ReturnType<typeof loggedInUser>>;

const root = await loggedInUser("admin");
const rootProof = proofBy(root.tokens);

// Fault injection: while a user is in this table, revoking a login of the user fails.
await pool.query(`
  CREATE TABLE revocation_fault (user_id bigint);
  CREATE FUNCTION fail_revocation() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.revoked_at IS NOT NULL AND EXISTS (SELECT FROM revocation_fault f WHERE f.user_id = NEW.user_id)
      THEN RAISE EXCEPTION 'revocation fault'; END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER fail_revocation BEFORE UPDATE ON auth.login FOR EACH ROW EXECUTE FUNCTION fail_revocation();`);

/** The stored account row, and its numbers of active logins, audit entries and notices. */
async function stored(userId: string) {
  const rows = "SELECT * FROM auth.account WHERE user_id = $1";
  const logins =
    "SELECT count(*)::int AS live FROM auth.login WHERE user_id = $1 AND revoked_at IS NULL";
  const audit = "SELECT count(*)::int AS written FROM auth.audit WHERE user_id = $1";
  const notices = "SELECT count(*)::int AS kept FROM auth.security_notice WHERE user_id = $1";
  const all = await Promise.all(
    [rows, logins, audit, notices].map((sql) => pool.query(sql, [userId])),
  );
  return all.flatMap((found) => found.rows);
}

/** Binds a phone number to the account, then requests a code of the purpose for it. */
async function withCode({ as }: LoggedInUser, purpose: SmsPurpose) {
  const phone = randomPhoneNumber();
  await auth.sendSmsCode({ phone, purpose: SmsPurpose.BIND }, as);
  const password = await one.encrypt(GOOD_PASSWORD);
  await auth.bindPhone({ phone, code: codeOf(one.messages.at(-1)!), password }, as);
  clock.advance(61_000);
  await auth.sendSmsCode({ phone, purpose });
  return { phone, code: codeOf(one.messages.at(-1)!) };
}

const changes: Record<string, (user: LoggedInUser) => Promise<() => Promise<unknown>>> = {
  "a changed password":
    async ({ as }) =>
    async () => {
      const [newPassword, oldPassword] = await one.encryptAll(OTHER, GOOD_PASSWORD);
      return auth.changePassword({ newPassword, oldPassword }, as);
    },
  "a reset password": async (user) => {
    const proof = await withCode(user, SmsPurpose.RESET);
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
  "a password set by an administrator":
    async ({ userId }) =>
    async () =>
      admin.setPassword(
        { userId, newPassword: await one.encrypt(OTHER), reason: "test", proof: rootProof },
        root.as,
      ),
  "another role":
    async ({ userId }) =>
    async () =>
      admin.grantRole({ userId, role: Role.OPERATOR, reason: "test", proof: rootProof }, root.as),
};

for (const [name, prepare] of Object.entries(changes)) {
  test(`${name} and the end of the logins commit together or not at all`, async () => {
    const user = await loggedInUser();
    await auth.login({
      userName: user.userName,
      password: await one.encrypt(GOOD_PASSWORD),
      device: { deviceId: "laptop", deviceClass: DeviceClass.DESKTOP },
    });
    const change = await prepare(user);
    const before = await stored(user.userId);
    await pool.query("INSERT INTO revocation_fault VALUES ($1)", [user.userId]);
    await assert.rejects(change());
    assert.deepEqual(await stored(user.userId), before);

    await pool.query("DELETE FROM revocation_fault");
    await change();
    const left = name === "a changed password" ? 1 : 0;
    assert.deepEqual((await stored(user.userId))[1], { live: left });
  });
}

test("appointing the first administrator and ending the logins commit together or not at all", async (t) => {
  const user = await loggedInUser();
  await pool.query("UPDATE auth.account SET role = 'user'");
  const before = await stored(user.userId);
  await pool.query("INSERT INTO revocation_fault VALUES ($1)", [user.userId]);
  const config = { firstAdmin: user.userName };
  await assert.rejects(startTestAuth({ url, t, config }));
  assert.deepEqual(await stored(user.userId), before);

  await pool.query("DELETE FROM revocation_fault");
  await startTestAuth({ url, t, config });
  assert.deepEqual((await stored(user.userId))[1], { live: 0 });
});
