import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuditAction, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { GOOD_PASSWORD, proofBy, startTestAuth } from "../auth.suite.ts";
import { createAccountChanges, selectAccountChanges } from "./account-changes.ts";

const { url, pool } = await startTestPostgres({ after });
const changes = createAccountChanges({ pool });
const one = await startTestAuth({ url, t: { after } });
const { admin, auth, sessions } = one;

/** Registers a user with a role, and logs the user in. */
async function loggedInUser(role = "user") {
  const { userId, userName } = await one.register();
  await pool.query("UPDATE auth.account SET role = $2 WHERE user_id = $1", [userId, role]);
  const tokens = await one.login(userName);
  return { userId, as: one.as(tokens), proof: proofBy(tokens) };
}

/** Writes audit entries of the users from 1 to `count`. */
const audit = (count: number, action: AuditAction) =>
  pool.query(
    `INSERT INTO auth.audit (actor_id, action, user_id, detail, reason, coarse_address, at)
     SELECT 1, $1, nr, '', '', '', now() FROM generate_series(1, $2::int) AS nr`,
    [action, count],
  );

test("changes come in pages of 1,000, and the cursor also passes other entries", async () => {
  assert.deepEqual(await changes.since(undefined), {
    userIds: [],
    nextCursor: "0",
    hasMore: false,
  });
  await audit(1_000, AuditAction.ACCOUNT_DISABLED);
  const full = await changes.since("0");
  assert.deepEqual([full.userIds.length, full.hasMore], [1_000, false]);
  await audit(5, AuditAction.ACCOUNT_DELETED);
  await audit(7, AuditAction.LOGGED_OUT);
  const first = await changes.since("0");
  assert.deepEqual([first.userIds.length, first.hasMore, first.nextCursor], [1_000, true, "1000"]);
  const second = await changes.since(first.nextCursor);
  assert.deepEqual(second, {
    userIds: ["1", "2", "3", "4", "5"],
    nextCursor: "1012",
    hasMore: false,
  });
});

test("a poll reads only the entries after its cursor", async () => {
  await audit(5_000, AuditAction.LOGGED_OUT);
  await pool.query("ANALYZE auth.audit");
  const { rows } = await pool.query(`EXPLAIN (GENERIC_PLAN) ${selectAccountChanges.text}`);
  const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
  assert.match(plan, /Index.* Scan.* using audit_pkey/);
  assert.doesNotMatch(plan, /Seq Scan/);
});

test("ListAccountChanges returns the users whose accounts were disabled, enabled or deleted, in order", async () => {
  const changesAfter = async (cursor: bigint) => {
    const answer = await sessions.listAccountChanges({ cursor });
    assert.equal(answer.hasMore, false);
    return answer;
  };
  const { nextCursor, userIds } = await sessions.listAccountChanges({});
  assert.deepEqual(userIds, []);
  const [ana, ben, root] = [
    await loggedInUser(),
    await loggedInUser(),
    await loggedInUser("admin"),
  ];
  await admin.disableAccount({ userId: ana.userId }, root.as);
  const { userIds: existing, disabledUserIds } = await sessions.checkUsers({
    userIds: [ana.userId, ben.userId],
  });
  assert.deepEqual(
    [existing.toSorted(), disabledUserIds],
    [[ana.userId, ben.userId].toSorted(), [ana.userId]],
  );
  await auth.deleteAccount({ password: await one.encrypt(GOOD_PASSWORD) }, ben.as);
  const { userId } = await one.register();
  await admin.grantRole({ userId, role: Role.OPERATOR, proof: root.proof }, root.as);
  await admin.enableAccount({ userId: ana.userId }, root.as);
  const all = await changesAfter(nextCursor);
  assert.deepEqual(all.userIds, [ana.userId, ben.userId, ana.userId]);
  assert.deepEqual((await changesAfter(all.nextCursor)).userIds, []);
  // After a restored backup the cursor is ahead of the log.
  const ahead = await changesAfter(all.nextCursor + 5n);
  assert.deepEqual([ahead.userIds, ahead.nextCursor], [[], all.nextCursor]);
});

test("a poll of ListAccountChanges during concurrent changes skips none", async () => {
  const root = await loggedInUser("admin");
  const ids = await Promise.all(
    Array.from({ length: 12 }, async () => (await one.register()).userId),
  );
  let { nextCursor: cursor } = await sessions.listAccountChanges({});
  const found = new Set<string>();
  let changing = true;
  const changed = Promise.all(
    ids.map((userId) => admin.disableAccount({ userId }, root.as)),
  ).finally(() => {
    changing = false;
  });
  for (let last = false; !last; ) {
    last = !changing;
    const answer = await sessions.listAccountChanges({ cursor });
    for (const userId of answer.userIds) found.add(userId);
    cursor = answer.nextCursor;
  }
  await changed;
  assert.deepEqual([...found].sort(), ids.sort());
});
