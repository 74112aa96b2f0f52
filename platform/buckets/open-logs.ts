import { type DatabaseAddress, migrate } from "#platform/postgres/migrate.ts";
import { createPool, openPool, type Pool, type PoolOptions } from "#platform/postgres/pool.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import { assignBuckets } from "./assign.ts";

export interface LogsOptions extends Omit<PoolOptions, "url"> {
  /** The migrated home database. Without a list of databases it is the only one of the log. */
  readonly home: DatabaseAddress;
}

/**
 * Migrates the databases of the log, assigns the buckets of a new log, and opens a pool for each
 * database. A database that cannot be reached delays only its own conversations: the others are
 * opened, unless none can be reached. Rejects with an error for operators.
 */
export async function openLogs(
  addresses: readonly Required<DatabaseAddress>[],
  { log, home, ...options }: LogsOptions,
): Promise<Pool[]> {
  const away = new Set<DatabaseAddress>();
  for (const [at, address] of addresses.entries()) {
    try {
      await migrate({ ...address, log });
    } catch (error) {
      const unreachable = databaseUnavailable((error as Error).cause) !== undefined;
      if (!unreachable || away.size + 1 === addresses.length) throw error;
      log.warn({ event: "log_database_unreachable", database: at + 1, err: error });
      away.add(address);
    }
  }
  if (away.size === 0) await assignBuckets(addresses, home);
  const pools: Pool[] = [];
  try {
    for (const address of addresses) {
      const pool = { ...options, ...address, log };
      pools.push(away.has(address) ? createPool(pool) : await openPool(pool));
    }
    return pools;
  } catch (error) {
    await Promise.all(pools.map((pool) => pool.end()));
    throw error;
  }
}
