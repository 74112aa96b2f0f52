import { type DatabaseAddress, migrate } from "#platform/postgres/migrate.ts";
import { createPool, openPool, type Pool, type PoolOptions } from "#platform/postgres/pool.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";
import { assignBuckets } from "./assign.ts";

export interface LogsOptions extends Omit<PoolOptions, "url"> {
  /** The migrated home database. Without a list of databases, it holds the log. */
  readonly home: DatabaseAddress;
}

/**
 * Migrates the databases of the log, assigns the buckets of a new log, and opens a pool for each
 * database. A database that cannot be reached delays only its own conversations: the others are
 * opened, unless none can be reached. It is migrated and checked when it answers first; until then, and
 * while a check fails, no connection to it can be used. Rejects with an error for operators.
 */
export async function openLogs(
  addresses: readonly Required<DatabaseAddress>[],
  { log, home, ...options }: LogsOptions,
): Promise<Pool[]> {
  const unreached = new Set<DatabaseAddress>();
  const failed = (error: unknown, at: number) => {
    if (!isUnavailable(error) || unreached.size + 1 === addresses.length) throw error;
    log.warn({ event: "log_database_unreachable", database: at + 1, err: error });
    unreached.add(addresses[at]!);
  };
  for (const [at, address] of addresses.entries())
    await migrate({ ...address, log }).catch((error) => failed(error, at));
  if (unreached.size === 0)
    await assignBuckets(addresses, home).catch((error) => {
      // One of them became unreachable meanwhile. The start of the log finds what is missing.
      if (!isUnavailable(error) || addresses.length === 1) throw error;
      log.warn({ event: "buckets_not_assigned", err: error });
    });
  const pools: Pool[] = [];
  try {
    for (const [at, address] of addresses.entries()) {
      const pool = { ...options, ...address, log };
      const opened = unreached.has(address)
        ? undefined
        : await openPool(pool).catch((error) => failed(error, at));
      pools.push(opened ?? openLater(pool, at + 1));
    }
    return pools;
  } catch (error) {
    await Promise.all(pools.map((pool) => pool.end()));
    throw error;
  }
}

/** Whether PostgreSQL could not be reached or ended the connection. */
function isUnavailable(error: unknown): boolean {
  return [error, (error as Error).cause].some((one) => databaseUnavailable(one) !== undefined);
}

/** SQLSTATE of a connection that was refused, for the error of a failed check: the caller may retry. */
const REFUSED = "08004";

/** A pool whose first connection migrates and checks the database. After a failure the next one does. */
function openLater(options: PoolOptions & Required<DatabaseAddress>, number: number): Pool {
  const { log } = options;
  let checking: Promise<void> | undefined;
  const check = async () => {
    try {
      await migrate({ ...options, log });
      const checked = await openPool({ ...options, max: 2, metrics: undefined });
      await checked.end();
    } catch (cause) {
      checking = undefined;
      // Not while it is away again: that is logged by its users.
      if (!isUnavailable(cause))
        log.error({ event: "log_database_refused", database: number, err: cause });
      throw Object.assign(new Error((cause as Error).message, { cause }), { code: REFUSED });
    }
    log.info({ event: "log_database_checked", database: number });
  };
  return createPool({
    ...options,
    verify: () => {
      checking ??= check();
      return checking;
    },
  });
}
