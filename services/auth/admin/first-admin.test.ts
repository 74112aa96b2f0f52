import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { refused, startTestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });

const admins = async () => {
  const sql = "SELECT user_id FROM auth.account WHERE role = 'admin' ORDER BY user_id";
  return (await pool.query<{ user_id: string }>(sql)).rows.map((row) => row.user_id);
};

test("the configured account becomes administrator once, and only while there is none", async (t) => {
  const before = await startTestAuth({ url, t, config: { firstAdmin: "nobody-yet" } });
  assert.deepEqual(await admins(), []);
  const ana = await before.register();
  const ben = await before.register();
  const tokens = await before.login(ana.userName);

  // Two instances race at start-up. Another spelling of the name is accepted.
  const config = { firstAdmin: ana.userName.toUpperCase() };
  const [one] = await Promise.all([
    startTestAuth({ url, t, config }),
    startTestAuth({ url, t, config }),
  ]);
  assert.deepEqual(await admins(), [ana.userId]);
  // Tokens with the previous role are revoked.
  const { refreshToken } = tokens;
  await refused(one.auth.refresh({ refreshToken }), ErrorReason.REFRESH_TOKEN_INVALID);
  const { entries } = await one.admin.listAudit({}, one.as(await one.login(ana.userName)));
  assert.deepEqual(
    entries.map(({ actorId, userId, action, detail }) => ({ actorId, userId, action, detail })),
    [
      {
        actorId: "0",
        userId: ana.userId,
        action: AuditAction.ROLE_GRANTED,
        detail: "user → admin",
      },
    ],
  );

  await startTestAuth({ url, t, config: { firstAdmin: ben.userName } });
  assert.deepEqual(await admins(), [ana.userId]);
});

test("a disabled account does not become administrator", async (t) => {
  await pool.query("UPDATE auth.account SET role = 'user', state = 'disabled'");
  const before = await startTestAuth({ url, t });
  const eve = await before.register();
  await pool.query("UPDATE auth.account SET state = 'disabled' WHERE user_id = $1", [eve.userId]);
  await startTestAuth({ url, t, config: { firstAdmin: eve.userName } });
  assert.deepEqual(await admins(), []);
});
