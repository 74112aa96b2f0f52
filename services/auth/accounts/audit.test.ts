import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { openDatabase } from "../database.ts";
import { createAudit } from "./audit.ts";

const { pool } = await startTestPostgres({ after });

test("the audit log accepts new entries, and no changes or deletions", async (t) => {
  const database = openDatabase(pool);
  t.after(() => database.$disconnect());
  const audit = createAudit({ clock: new ManualClock() });
  const entry = { actorId: "1", action: AuditAction.ROLE_GRANTED, userId: "2", detail: "to admin" };
  await database.$transaction((tx) => audit.write(tx, entry));
  for (const sql of [
    "UPDATE auth.audit SET detail = ''",
    "DELETE FROM auth.audit",
    "TRUNCATE auth.audit",
  ])
    await assert.rejects(pool.query(sql), /auth\.audit is append-only/, sql);
  // The trigger also fires while ordinary triggers are disabled, as for replication.
  const client = await pool.connect();
  t.after(() => client.release());
  await client.query("SET session_replication_role = replica");
  await assert.rejects(client.query("DELETE FROM auth.audit"), /auth\.audit is append-only/);
  await client.query("RESET session_replication_role");
  const { rows } = await pool.query("SELECT actor_id, user_id, detail FROM auth.audit");
  assert.deepEqual(rows, [{ actor_id: "1", user_id: "2", detail: "to admin" }]);
});
