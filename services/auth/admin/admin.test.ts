import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AccountState, AuditAction, type AuditEntry, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { DeviceClass, DeviceExcess, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { GOOD_PASSWORD, proofBy, refused, startTestAuth, type TestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });
const one = await startTestAuth({ url, t: { after } });
const { admin, auth, users, clock } = one;

const setRole = (userId: string, role: string) =>
  pool.query("UPDATE auth.account SET role = $2 WHERE user_id = $1", [userId, role]);

/** Registers a user with a role, and logs the user in. */
async function loggedInUser(role = "user", on: TestAuth = one) {
  const registered = await on.register();
  await setRole(registered.userId, role);
  const tokens = await on.login(registered.userName);
  return { ...registered, tokens, as: on.as(tokens), proof: proofBy(tokens) };
}

const root = await loggedInUser("admin");
const operator = await loggedInUser("operator");
const { proof } = root;

const refresh = ({ refreshToken }: Tokens) => auth.refresh({ refreshToken });
const ended = (tokens: Tokens) => refused(refresh(tokens), ErrorReason.REFRESH_TOKEN_INVALID);
const auditOf = async (userId: string): Promise<AuditEntry[]> =>
  (await admin.listAudit({ userId }, root.as)).entries;
const summariesOf = (entries: AuditEntry[]) =>
  entries.map(({ action, detail }) => `${AuditAction[action]} ${detail}`);

test("disabling an account ends its logins and refuses new ones until it is enabled", async () => {
  const ana = await loggedInUser();
  const { userId } = ana;
  const disabled = await admin.disableAccount({ userId, reason: "spam" }, operator.as);
  assert.equal(disabled.account?.state, AccountState.DISABLED);
  assert.equal(disabled.account?.loggedInDevices, 0);
  await ended(ana.tokens);
  await refused(one.login(ana.userName), ErrorReason.ACCOUNT_DISABLED);
  const password = await one.encrypt("not the password");
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  // Only a caller with the right password learns that the account is disabled.
  const guess = auth.login({ userName: ana.userName, password, device });
  await refused(guess, ErrorReason.CREDENTIALS_INVALID);
  // Disabling is idempotent, so the second call writes no audit entry.
  await admin.disableAccount({ userId, reason: "again" }, operator.as);
  const enabled = await admin.enableAccount({ userId, reason: "mended" }, operator.as);
  assert.equal(enabled.account?.state, AccountState.ACTIVE);
  await one.login(ana.userName);

  const entries = await auditOf(userId);
  assert.deepEqual(summariesOf(entries), [
    "ACCOUNT_ENABLED disabled → active",
    "ACCOUNT_DISABLED active → disabled",
  ]);
  const [, first] = entries;
  assert.deepEqual([first?.actorId, first?.reason], [operator.userId, "spam"]);
  assert.equal(first?.atMs, BigInt(clock.now()));
});

test("operators may not change operators or administrators, grant roles or set passwords", async () => {
  const other = await loggedInUser("operator");
  const ana = await loggedInUser();
  const denied = (call: Promise<unknown>) => refused(call, ErrorReason.PERMISSION_DENIED);
  for (const { userId } of [other, root, operator]) {
    await denied(admin.disableAccount({ userId }, operator.as));
    await denied(admin.enableAccount({ userId }, operator.as));
    await denied(admin.forceLogout({ userId }, operator.as));
  }
  const { userId } = ana;
  const newPassword = await one.encrypt("another good horse");
  await denied(admin.setPassword({ userId, newPassword }, operator.as));
  await denied(admin.grantRole({ userId, role: Role.OPERATOR }, operator.as));
  await denied(admin.listAudit({}, operator.as));
  await denied(admin.setDevicePolicy({ rules: [rule(DeviceClass.WEB, 1)] }, operator.as));
  await denied(admin.findAccounts({ query: { case: "userId", value: userId } }, ana.as));
  assert.deepEqual(await auditOf(other.userId), []);
  await refresh(other.tokens);
});

test("a revoked role is refused at once, although the token still carries it", async () => {
  const former = await loggedInUser("operator");
  const ana = await loggedInUser();
  // Another instance has revoked the role; this instance was not notified yet.
  await setRole(former.userId, "user");
  const call = admin.disableAccount({ userId: ana.userId }, former.as);
  await refused(call, ErrorReason.PERMISSION_DENIED);
});

test("a forced logout ends the logins of all devices, or of the named device", async () => {
  const ana = await loggedInUser();
  const { userId } = ana;
  const laptop = await one.login(ana.userName, "laptop");
  const first = await admin.forceLogout({ userId, deviceId: "laptop" }, operator.as);
  assert.equal(first.account?.loggedInDevices, 1);
  await ended(laptop);
  // A repeat changes nothing and is not audited.
  await admin.forceLogout({ userId, deviceId: "laptop" }, operator.as);
  const unknown = admin.forceLogout({ userId, deviceId: "never" }, operator.as);
  await refused(unknown, ErrorReason.DEVICE_NOT_FOUND);
  const all = await admin.forceLogout({ userId, reason: "lost phone" }, operator.as);
  assert.equal(all.account?.loggedInDevices, 0);
  await ended(ana.tokens);
  assert.deepEqual(summariesOf(await auditOf(userId)), [
    "LOGGED_OUT all devices",
    "LOGGED_OUT one device",
  ]);
});

test("a password set by an administrator is valid at once and lifts the brute-force lock", async () => {
  const ana = await loggedInUser();
  const { userId, userName } = ana;
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const login = async (text: string) =>
    auth.login({ userName, password: await one.encrypt(text), device });
  for (let n = 0; n < 5; n++) await refused(login("wrong"), ErrorReason.CREDENTIALS_INVALID);
  await refused(login(GOOD_PASSWORD), ErrorReason.ACCOUNT_LOCKED);
  const weak = await one.encrypt("short");
  await refused(
    admin.setPassword({ userId, newPassword: weak, proof }, root.as),
    ErrorReason.PASSWORD_WEAK,
  );
  const newPassword = await one.encrypt("zebra lantern quartz");
  await admin.setPassword({ userId, newPassword, reason: "called us", proof }, root.as);
  await ended(ana.tokens);
  await refused(login(GOOD_PASSWORD), ErrorReason.CREDENTIALS_INVALID);
  await login("zebra lantern quartz");
  const entries = await auditOf(userId);
  assert.deepEqual(summariesOf(entries), ["PASSWORD_SET changed"]);
  assert.ok(
    !JSON.stringify(entries.map(({ detail, reason }) => [detail, reason])).includes("zebra"),
  );
});

test("a granted role is in the next token, and the old tokens are revoked", async () => {
  const ana = await loggedInUser();
  const { userId } = ana;
  const { account } = await admin.grantRole({ userId, role: Role.OPERATOR, proof }, root.as);
  assert.equal(account?.role, Role.OPERATOR);
  await ended(ana.tokens);
  const again = one.as(await one.login(ana.userName));
  const found = await admin.findAccounts({ query: { case: "userId", value: userId } }, again);
  assert.equal(found.accounts[0]?.role, Role.OPERATOR);
  assert.deepEqual(summariesOf(await auditOf(userId)), ["ROLE_GRANTED user → operator"]);
  const none = admin.grantRole({ userId, role: Role.UNSPECIFIED }, root.as);
  await refused(none, ErrorReason.INVALID_ARGUMENT);
});

test("a stolen access token of an administrator neither sets passwords nor grants roles", async () => {
  const { userId, userName } = await loggedInUser();
  const newPassword = await one.encrypt("zebra lantern quartz");
  const set = admin.setPassword({ userId: root.userId, newPassword }, root.as);
  await refused(set, ErrorReason.PROOF_REQUIRED);
  const grant = admin.grantRole({ userId, role: Role.ADMIN }, root.as);
  await refused(grant, ErrorReason.PROOF_REQUIRED);
  await one.login(root.userName, "tablet");
  await one.login(userName);
  assert.deepEqual(await auditOf(userId), []);
});

test("the last administrator stays, even when two race to revoke each other's role", async (t) => {
  const { url, pool } = await startTestPostgres(t);
  const [a, b] = [await startTestAuth({ url, t }), await startTestAuth({ url, t })];
  const make = async (on: TestAuth) => {
    const { userId, userName } = await on.register();
    await pool.query("UPDATE auth.account SET role = 'admin' WHERE user_id = $1", [userId]);
    const tokens = await on.login(userName);
    return { userId, as: on.as(tokens), proof: proofBy(tokens) };
  };
  const [ana, ben] = [await make(a), await make(b)];
  const outcomes = await Promise.allSettled([
    a.admin.grantRole({ userId: ben.userId, role: Role.USER, proof: ana.proof }, ana.as),
    b.admin.disableAccount({ userId: ana.userId }, ben.as),
  ]);
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  const sql = "SELECT user_id FROM auth.account WHERE role = 'admin' AND state = 'active'";
  const { rows } = await pool.query<{ user_id: string }>(sql);
  assert.equal(rows.length, 1);
  const left = rows[0]!.user_id === ana.userId ? { on: a, who: ana } : { on: b, who: ben };
  const { on, who } = left;
  const password = await on.encrypt(GOOD_PASSWORD);
  for (const call of [
    () => on.admin.grantRole({ userId: who.userId, role: Role.USER, proof: who.proof }, who.as),
    () => on.admin.disableAccount({ userId: who.userId }, who.as),
    () => on.auth.deleteAccount({ password }, who.as),
  ])
    await refused(call(), ErrorReason.LAST_ADMIN);
});

test("accounts are found by id, by name prefix in pages, and by phone", async () => {
  for (let n = 0; n < 5; n++) {
    const userName = `Zoe${n}`;
    await auth.register({ userName, password: await one.encrypt(GOOD_PASSWORD) });
  }
  const names: string[] = [];
  let pageToken = "";
  do {
    const query = { case: "userNamePrefix", value: "ZOE" } as const;
    const page = await admin.findAccounts({ query, pageSize: 2, pageToken }, operator.as);
    names.push(...page.accounts.map(({ user }) => user!.userName));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(names, ["Zoe0", "Zoe1", "Zoe2", "Zoe3", "Zoe4"]);

  const find = (query: Parameters<typeof admin.findAccounts>[0]["query"], more = {}) =>
    admin.findAccounts({ query: query!, ...more }, operator.as);
  assert.deepEqual((await find({ case: "userNamePrefix", value: "%" })).accounts, []);
  assert.deepEqual((await find({ case: "userId", value: "999999999999" })).accounts, []);
  for (const pageToken of ["nonsense", Buffer.from(root.userId).toString("base64url")])
    await refused(
      find({ case: "userNamePrefix", value: "zoe" }, { pageToken }),
      ErrorReason.INVALID_ARGUMENT,
    );

  const byPhone = await find({ case: "phone", value: "+4915112345678" });
  assert.deepEqual(byPhone.accounts, []);
  const { entries } = await admin.listAudit({ actorId: operator.userId, pageSize: 1 }, root.as);
  assert.deepEqual(summariesOf(entries), ["FOUND_BY_PHONE not found"]);
  assert.equal(entries[0]?.userId, "0");
  await refused(find({ case: "phone", value: "+10000000" }), ErrorReason.PHONE_INVALID);
});

test("the audit log is listed in pages, newest first, filtered by user or actor", async () => {
  const ana = await loggedInUser();
  const { userId } = ana;
  for (let n = 0; n < 3; n++) {
    await admin.disableAccount({ userId, reason: `${n}` }, operator.as);
    await admin.enableAccount({ userId, reason: `${n}` }, root.as);
  }
  const pages: AuditEntry[][] = [];
  let pageToken = "";
  do {
    const page = await admin.listAudit({ userId, pageSize: 4, pageToken }, root.as);
    pages.push(page.entries);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(
    pages.map(({ length }) => length),
    [4, 2],
  );
  const ids = pages.flat().map(({ auditId }) => BigInt(auditId));
  assert.deepEqual(
    ids,
    ids.toSorted((a, b) => Number(b - a)),
  );
  const mine = await admin.listAudit({ userId, actorId: root.userId }, root.as);
  assert.deepEqual(
    mine.entries.map(({ action }) => action),
    Array(3).fill(AuditAction.ACCOUNT_ENABLED),
  );
  await refused(admin.listAudit({ pageToken: "?" }, root.as), ErrorReason.INVALID_ARGUMENT);
});

test("a change is rolled back when its audit entry cannot be written", async (t) => {
  const ana = await loggedInUser();
  const { userId } = ana;
  await pool.query("ALTER TABLE auth.audit ADD CONSTRAINT broken CHECK (reason <> 'fault')");
  t.after(() => pool.query("ALTER TABLE auth.audit DROP CONSTRAINT broken").then(() => {}));
  await refused(
    admin.disableAccount({ userId, reason: "fault" }, operator.as),
    ErrorReason.INTERNAL,
  );
  await one.login(ana.userName);
  const bell = admin.disableAccount({ userId, reason: "ding\u0007" }, operator.as);
  await refused(bell, ErrorReason.INVALID_ARGUMENT);
});

const rule = (deviceClass: DeviceClass, maxDevices: number) => ({
  deviceClass,
  maxDevices,
  excess: DeviceExcess.REFUSE_NEW,
});

test("setting the device policy replaces all rules, refuses duplicate classes and is audited", async () => {
  const rules = [rule(DeviceClass.MOBILE, 2), rule(DeviceClass.WEB, 5)];
  await admin.setDevicePolicy({ rules, reason: "more room" }, root.as);
  const answer = await admin.getDevicePolicy({}, operator.as);
  assert.deepEqual(
    answer.rules.map(({ deviceClass, maxDevices, excess }) => ({
      deviceClass,
      maxDevices,
      excess,
    })),
    rules,
  );
  const { entries } = await admin.listAudit({ actorId: root.userId, pageSize: 1 }, root.as);
  assert.deepEqual(summariesOf(entries), ["DEVICE_POLICY_SET mobile:2:refuse,web:5:refuse"]);
  const twice = [rule(DeviceClass.WEB, 1), rule(DeviceClass.WEB, 2)];
  await refused(admin.setDevicePolicy({ rules: twice }, root.as), ErrorReason.INVALID_ARGUMENT);
});

test("an unknown id is USER_NOT_FOUND, and so is a deleted account", async () => {
  const ana = await loggedInUser();
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, ana.as);
  for (const userId of ["999999999999", ana.userId]) {
    const calls = [
      admin.disableAccount({ userId }, root.as),
      admin.enableAccount({ userId }, root.as),
      admin.forceLogout({ userId }, root.as),
      admin.grantRole({ userId, role: Role.BOT, proof }, root.as),
      admin.setPassword(
        { userId, newPassword: await one.encrypt("zebra lantern quartz"), proof },
        root.as,
      ),
    ];
    for (const outcome of await Promise.allSettled(calls)) {
      assert.equal(outcome.status, "rejected");
      const { reason } = outcome as PromiseRejectedResult;
      await refused(Promise.reject(reason), ErrorReason.USER_NOT_FOUND);
    }
  }
  const byId = await admin.findAccounts({ query: { case: "userId", value: ana.userId } }, root.as);
  assert.equal(byId.accounts[0]?.state, AccountState.DELETED);
  const { user } = await users.getUser({ key: { case: "userId", value: ana.userId } }, root.as);
  assert.deepEqual([user?.deleted, user?.displayName], [true, "Deleted user"]);
});
