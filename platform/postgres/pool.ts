import pg from "pg";
import type { Log } from "#platform/log.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

export interface PoolOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** Connections at most. */
  max: number;
  log: Log;
  /** Shown by PostgreSQL as application_name. */
  name: string;
  /** How long a statement may run before PostgreSQL cancels it, milliseconds; 15,000 when absent. */
  statementTimeoutMs?: number;
}

const INT8 = 20;
const asText = (value: string) => value;

// Local to our pools: nothing that another module registers globally changes what an id looks like.
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === INT8
      ? asText
      : pg.types.getTypeParser(oid, format as "text")) as typeof pg.types.getTypeParser,
};

/**
 * Connections to PostgreSQL. `bigint` columns are read as decimal strings.
 *
 * A connection that breaks is logged and replaced; a query that was on it fails. The caller ends
 * the pool.
 */
export function createPool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.name,
    statement_timeout: options.statementTimeoutMs ?? 15_000,
    idle_in_transaction_session_timeout: 30_000,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    // Prisma's adapter reads a time as if it were UTC, whatever zone PostgreSQL wrote it in.
    options: "-c TimeZone=UTC",
    types,
  });
  const broken = (error: Error) => {
    if (pool.ending) return;
    options.log.warn({ event: "postgres_connection_lost", pool: options.name, err: error });
  };
  // The pool listens to idle connections only; one that breaks in use would end the process.
  pool.on("connect", (client) => client.on("error", broken));
  // The same error, from an idle connection: logged by the listener above.
  pool.on("error", () => {});
  return pool;
}

/**
 * Runs `work` in one transaction: committed when it returns, rolled back when it throws, and what
 * it threw is thrown on. A connection that cannot even roll back is thrown away.
 */
export async function transaction<T>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<T>,
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
