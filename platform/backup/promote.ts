import pg from "pg";
import type { DatabaseAddress } from "#platform/postgres/migrate.ts";
import { ownSession } from "#platform/postgres/session.ts";
import { findDamage } from "./check-log.ts";
import { openConnection } from "./copy.ts";
import { type LogReset, resetLog } from "./reset-log.ts";

const SERVICES = `
  SELECT application_name AS name, count(*)::int AS connections FROM pg_stat_activity
   WHERE datname = current_database() AND application_name IN ('auth', 'server')
   GROUP BY 1 ORDER BY 1`;

/** Blocks writers of the log until the end of the transaction, but no readers. */
const LOCK = `
  SET LOCAL lock_timeout = '10s';
  LOCK TABLE im.conversation, im.member, im.entry IN SHARE ROW EXCLUSIVE MODE`;

/**
 * Puts a database into operation that PostgreSQL's own tools restored: checks the log, and resets it,
 * in one transaction that locks the log. Throws an error for operators when a pooler is in between,
 * when a service is connected, when PostgreSQL is still a standby, when another connection has
 * uncommitted writes to the log, and when the log is damaged; then nothing was changed. `damaged`
 * permits a damaged log. The database must be migrated.
 */
export async function promote(
  owner: DatabaseAddress,
  { damaged = false }: { readonly damaged?: boolean } = {},
): Promise<LogReset & { readonly damage: readonly string[] }> {
  const { url, variable = "LUCKY_POSTGRES_URL" } = owner;
  await ownSession(url, variable);
  const client = await openConnection(url, { name: "promote" });
  try {
    const { rows } = await client.query<{ standby: boolean }>(
      "SELECT pg_is_in_recovery() AS standby",
    );
    if (rows[0]!.standby)
      throw new Error(
        "PostgreSQL is still in recovery. Wait until it has ended, or end it with SELECT pg_promote().",
      );
    // A service that is connected may hold locks: name it before waiting for the lock.
    await refuseServices(client);
    await client.query("BEGIN");
    await lockLog(client);
    await refuseServices(client);
    const damage = await findDamage(client);
    if (damage.length > 0 && !damaged)
      throw new Error(
        [
          ...damage,
          "Restore an earlier state, or accept the damage: npm run migrate -- promote --damaged",
        ].join("\n"),
      );
    const reset = await resetLog(client);
    await client.query("COMMIT");
    await client.query("ANALYZE");
    return { ...reset, damage };
  } finally {
    await client.end();
  }
}

async function refuseServices(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string; connections: number }>(SERVICES);
  if (rows.length === 0) return;
  throw new Error(
    `The database is in use by ${rows.map(({ name }) => name).join(" and ")}. Stop all processes of Lucky first.`,
  );
}

async function lockLog(client: pg.Client): Promise<void> {
  try {
    await client.query(LOCK);
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError && cause.code === "55P03")) throw cause;
    throw new Error(
      "Another connection has written to the log and has not committed. End it first: find it in pg_stat_activity.",
      { cause },
    );
  }
}
