import pg from "pg";
import type { Log } from "#platform/log.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

export interface PoolOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** Maximum number of connections; further queries wait for a free one. */
  max: number;
  /** Time-out of that wait, and of a new connection, milliseconds; 5,000 when absent. */
  connectTimeoutMs?: number;
  log: Log;
  /** The application_name in PostgreSQL. */
  name: string;
  /** Time-out of a statement, after which PostgreSQL cancels it, milliseconds; 15,000 when absent. */
  statementTimeoutMs?: number;
}

export const INT8 = 20;
const asText = (value: string) => value;

// Type parsers per pool: global parsers of another module must not change how ids are read.
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === INT8
      ? asText
      : pg.types.getTypeParser(oid, format as "text")) as typeof pg.types.getTypeParser,
};

/**
 * Creates a pool of connections to PostgreSQL. It reads `bigint` columns as decimal strings.
 *
 * A broken connection is logged and replaced, and its query fails. The caller ends the pool.
 */
export function createPool(options: PoolOptions): Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.name,
    statement_timeout: options.statementTimeoutMs ?? 15_000,
    idle_in_transaction_session_timeout: 30_000,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    // Prisma's adapter reads every time as UTC and ignores the zone that PostgreSQL wrote.
    options: "-c TimeZone=UTC",
    types,
  });
  const broken = (error: Error) => {
    if (pool.ending) return;
    options.log.warn({ event: "postgres_connection_lost", pool: options.name, err: error });
  };
  // The pool handles errors of idle connections only; an unhandled error of a busy connection would
  // end the process.
  pool.on("connect", (client) => client.on("error", broken));
  // For an idle connection, the listener above has already logged this error.
  pool.on("error", () => {});
  return pool;
}

/**
 * Runs `work` in one transaction. Commits when `work` returns; rolls back and rethrows when it
 * throws. A connection whose rollback fails is discarded.
 */
export async function transaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch((cause: Error) => {
      broken = cause;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}
