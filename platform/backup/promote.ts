import type { DatabaseAddress } from "#platform/postgres/migrate.ts";
import { ownSession } from "#platform/postgres/session.ts";
import { checkLog } from "./check-log.ts";
import { openConnection } from "./copy.ts";
import { type LogReset, resetLog } from "./reset-log.ts";

const SERVICES = `
  SELECT application_name AS name, count(*)::int AS connections FROM pg_stat_activity
   WHERE datname = current_database() AND application_name IN ('auth', 'server')
   GROUP BY 1 ORDER BY 1`;

/**
 * Puts a database into operation that PostgreSQL's own tools restored: checks the log, and resets it
 * in one transaction. Throws an error for operators when a pooler is in between, when a service is
 * connected, when PostgreSQL is still a standby, and when the log is damaged; then nothing was changed.
 * The database must be migrated.
 */
export async function promote(owner: DatabaseAddress): Promise<LogReset> {
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
    const { rows: services } = await client.query<{ name: string; connections: number }>(SERVICES);
    if (services.length > 0)
      throw new Error(
        `The database is in use by ${services.map(({ name }) => name).join(" and ")}. Stop all processes of Lucky first.`,
      );
    await checkLog(client);
    await client.query("BEGIN");
    const reset = await resetLog(client);
    await client.query("COMMIT");
    await client.query("ANALYZE");
    return reset;
  } finally {
    await client.end();
  }
}
