import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import type { Log } from "#platform/log.ts";

const MIGRATIONS = fileURLToPath(new URL("../../prisma/migrations", import.meta.url));

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Applies the new SQL files of prisma/migrations to the database, in one transaction. A lock
 * serialises processes that start at the same time. The table lucky.migration records the applied
 * files. Rejects with an error for operators when the database cannot be reached.
 */
export async function migrate(options: { url: string; log: Log }): Promise<void> {
  const { url, log } = options;
  const debug = (message: string) => log.debug({ event: "migration", message });
  // This is the first use of the database: explain the driver's error, which is only "connect
  // ECONNREFUSED".
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  try {
    await client.connect();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`PostgreSQL (LUCKY_POSTGRES_URL) cannot be reached: ${why}`, { cause });
  } finally {
    await client.end().catch(() => {});
  }
  const applied = await runner({
    databaseUrl: url,
    dir: MIGRATIONS,
    direction: "up",
    migrationsSchema: "lucky",
    createMigrationsSchema: true,
    migrationsTable: "migration",
    advisoryLockMode: "wait",
    logger: { debug, info: debug, warn: debug, error: debug },
  });
  if (applied.length > 0)
    log.info({ event: "migrated", migrations: applied.map((migration) => migration.name) });
}
