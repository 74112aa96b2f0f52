import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createRevocationPages, selectRevocations } from "./revocation-pages.ts";

const { pool } = await startTestPostgres({ after });
beforeEach(() => pool.query("TRUNCATE auth.account, auth.key CASCADE"));

const clock = new ManualClock();
const pages = createRevocationPages({ pool, clock });

/**
 * Inserts logins of one user. Each number: the login ended that many milliseconds ago; null: it has
 * not ended.
 */
async function addLogins(endedMsAgo: readonly (number | null)[]): Promise<void> {
  await pool.query(`INSERT INTO auth.account (user_id, user_name, user_name_key, display_name)
    VALUES (1, 'ana', 'ana', 'Ana')`);
  await pool.query(
    `INSERT INTO auth.login (login_id, user_id, device_id, device_class, device_name, client_version,
       created_at, last_refreshed_at, access_expires_at, revoked_at)
     SELECT gen_random_uuid(), 1, 'd' || nr, 3, '', '', $1, $1, $1::timestamptz + interval '900 s',
       $1::timestamptz - ago * interval '1 ms'
     FROM unnest($2::int[]) WITH ORDINALITY AS of(ago, nr)`,
    [new Date(clock.now()), endedMsAgo],
  );
}

test("while no login ends the cursor stays, and the ids of the stored keys are returned", async () => {
  await addLogins([null]);
  await pool.query(
    "INSERT INTO auth.key (key_id, purpose, private_key, created_at) VALUES ('k', 'data', '', now())",
  );
  assert.deepEqual(await pages.since(7, ""), {
    revocations: [],
    nextCursorMs: 7,
    nextPageToken: "",
    keyIds: ["k"],
  });
});

test("the cursor advances to the last end, and a poll overlaps the half minute before it", async () => {
  await addLogins([0, 30_000, 30_001, null]);
  const all = await pages.since(0, "");
  assert.equal(all.revocations.length, 3);
  assert.equal(all.nextCursorMs, clock.now());
  const { revocations } = await pages.since(all.nextCursorMs, "");
  assert.deepEqual(
    revocations.map(({ loginId }) => loginId),
    all.revocations.slice(1).map(({ loginId }) => loginId),
  );
  for (const { accessExpiresAtMs } of revocations)
    assert.equal(accessExpiresAtMs, clock.now() + 900_000);
});

test("a cursor from before the clock stepped back starts from the beginning", async () => {
  await addLogins([0, 60_000]);
  const page = await pages.since(clock.now() + 3_600_000, "");
  assert.equal(page.revocations.length, 2);
  assert.equal(page.nextCursorMs, clock.now());
});

test("a full last page has no next page token", async () => {
  await addLogins(Array(1_000).fill(5));
  const page = await pages.since(0, "");
  assert.equal(page.revocations.length, 1_000);
  assert.equal(page.nextPageToken, "");
});

test("ended logins are found by their index among many active ones", async () => {
  await addLogins(Array.from({ length: 5_000 }, (_, nr) => (nr % 10 === 0 ? nr : null)));
  await pool.query("ANALYZE auth.login");
  const { rows } = await pool.query(`EXPLAIN (GENERIC_PLAN) ${selectRevocations.text}`);
  const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
  assert.match(plan, /login_revoked/);
  assert.doesNotMatch(plan, /Seq Scan on login/);
});
