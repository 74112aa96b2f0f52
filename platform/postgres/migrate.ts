import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import type { Log } from "#platform/log.ts";

const migrations = fileURLToPath(new URL("../../prisma/migrations", import.meta.url));

const CONNECT_MS = 5_000;

/**
 * Brings the database up to date: applies the SQL files of prisma/migrations that it does not have
 * yet, in one transaction. Processes that start together wait for each other. The table
 * lucky.migration says what was applied. Rejects in a plain sentence when the database cannot be
 * reached.
 */
export async function migrate(options: { url: string; log: Log }): Promise<void> {
  const { url, log } = options;
  const debug = (message: string) => log.debug({ event: "migration", message });
  // The first that needs the database: the driver alone says "connect ECONNREFUSED".
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS });
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
    dir: migrations,
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
