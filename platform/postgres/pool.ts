import { Socket } from "node:net";
import pg from "pg";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { endsWithin } from "#platform/waiting.ts";
import {
  checkSession,
  type Pooler,
  SESSION_SETTINGS,
  type SessionSettings,
  startupOptions,
} from "./session.ts";

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
  /** Counts the connections of the pool, if present. */
  metrics?: Metrics | undefined;
  /** Settings of each session, in addition to SESSION_SETTINGS, which they override. */
  session?: SessionSettings;
  /** Runs before the first use of each connection, whose use fails with its error. */
  verify?: () => Promise<void>;
  /** Kind of the pooler between this process and PostgreSQL; "none" when absent. */
  pooler?: Pooler;
}

/**
 * Maximum silence of a connection in use, ms. It is longer than the statement time-out, so that after
 * it the answer is certainly lost.
 */
const SILENCE_TIMEOUT_MS = 20_000;

/** Time-out of `end` of a pool, ms. */
const END_TIMEOUT_MS = 1_000;

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
 * SQLSTATEs after which a connection stays in use: bad data, violated constraints, conflicts,
 * cancelled statements, and errors that a function raised. Any other error may be one of this
 * connection alone, such as that of a standby, or a stale plan.
 */
const KEEPS_CONNECTION = /^(22|23|40|P0|LK)|^(57014|55P03)$/;

/** A connection through a pooler that loses named statements: its statements have no names. */
class UnnamedClient extends pg.Client {
  override query(...args: unknown[]): never {
    const [config, ...others] = args;
    const unnamed = isNamed(config) ? { ...config, name: undefined } : config;
    return super.query(
      ...([unnamed, ...others] as unknown as Parameters<pg.Client["query"]>),
    ) as never;
  }
}

function isNamed(config: unknown): config is { name: string } {
  return typeof config === "object" && config !== null && "name" in config;
}

/**
 * Creates a pool of connections to PostgreSQL. It reads `bigint` columns as decimal strings.
 *
 * Without a pooler, each connection gives its session the settings; a pooler leaves that to the
 * settings of the role, which `npm run migrate` makes. A broken connection is logged and replaced,
 * and its query fails. The caller ends the pool.
 */
export function createPool(options: PoolOptions): Pool {
  const { pooler = "none", verify } = options;
  const settings = { ...SESSION_SETTINGS, ...options.session };
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    stream: socketWithTimeout,
    ...(pooler === "none" && { options: startupOptions(settings) }),
    ...(pooler === "unprepared" && { Client: UnnamedClient }),
    ...(verify !== undefined && {
      verify: (_: unknown, done: (error?: Error) => void) => void verify().then(() => done(), done),
    }),
    types,
  });
  const broken = (error: Error) => {
    if (pool.ending) return;
    options.log.warn({ event: "postgres_connection_lost", pool: options.name, err: error });
  };
  const suspects = new WeakSet<pg.PoolClient>();
  pool.on("connect", (client) => {
    // The pool handles errors of idle connections only; an unhandled error of a busy connection
    // would end the process.
    client.on("error", broken);
    client.connection.on("errorMessage", ({ code = "" }) => {
      if (!KEEPS_CONNECTION.test(code)) suspects.add(client);
    });
  });
  // The pool removes a client that has ended.
  pool.on("release", (_, client) => {
    if (suspects.has(client)) client.end().catch(() => {});
  });
  // For an idle connection, the listener above has already logged this error.
  pool.on("error", () => {});
  if (options.metrics) observe(pool, options.metrics);
  boundEnd(pool);
  return pool;
}

/** Registers the connections of a pool. Several pools of one process add up. */
function observe(pool: Pool, metrics: Metrics): void {
  metrics.sampled(
    "lucky_postgres_connections",
    "Open connections to PostgreSQL, by state.",
    ["state"],
    () => [
      [{ state: "idle" }, pool.idleCount],
      [{ state: "used" }, pool.totalCount - pool.idleCount],
    ],
  );
  metrics.sampled(
    "lucky_postgres_connections_max",
    "Maximum open connections to PostgreSQL.",
    [],
    () => [[{}, pool.options.max]],
  );
  metrics.sampled(
    "lucky_postgres_waiting",
    "Queries that wait for a connection to PostgreSQL.",
    [],
    () => [[{}, pool.waitingCount]],
  );
}

/**
 * Gives `end` of a pool a time-out. It waits until all connections are released and PostgreSQL has
 * closed them; a PostgreSQL that hangs never does. After the time-out the connections are
 * destroyed.
 */
function boundEnd(pool: Pool): void {
  const clients = new Set<pg.PoolClient>();
  pool.on("connect", (client) => clients.add(client));
  pool.on("remove", (client) => clients.delete(client));
  const end = pool.end.bind(pool) as () => Promise<void>;
  let ended: Promise<void> | undefined;
  pool.end = () => {
    ended ??= endsWithin(END_TIMEOUT_MS, end()).then((inTime) => {
      if (!inTime) for (const { connection } of clients) connection.stream.destroy();
    });
    return ended;
  };
}

/**
 * A socket that is destroyed after this silence, for example when the network swallows the answer.
 * The pool closes idle connections earlier.
 */
function socketWithTimeout(): Socket {
  const socket = new Socket();
  socket.setTimeout(SILENCE_TIMEOUT_MS, () => {
    const text = `PostgreSQL did not answer in ${SILENCE_TIMEOUT_MS} ms`;
    socket.destroy(Object.assign(new Error(text), { code: "ETIMEDOUT" }));
  });
  return socket;
}

/**
 * Creates a pool, and checks the settings of its sessions. Rejects with an error for operators that
 * names the variable of the URL.
 */
export async function openPool(
  options: PoolOptions & { readonly variable: string },
): Promise<Pool> {
  const { session, pooler = "none", variable } = options;
  const pool = createPool(options);
  try {
    await checkSession(pool, { variable, pooler, settings: { ...SESSION_SETTINGS, ...session } });
    return pool;
  } catch (error) {
    await pool.end();
    throw error;
  }
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
