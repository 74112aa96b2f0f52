import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import type { Log } from "../log.ts";

const migrations = fileURLToPath(new URL("../../prisma/migrations", import.meta.url));

/**
 * Brings the database up to date: applies the SQL files of prisma/migrations that it does not have
 * yet, in one transaction. Processes that start together wait for each other. The table
 * lucky.migration says what was applied.
 */
export async function migrate(options: { url: string; log: Log }): Promise<void> {
  const { url, log } = options;
  const debug = (message: string) => log.debug({ event: "migration", message });
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
