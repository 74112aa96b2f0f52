import pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { transaction } from "#platform/postgres/pool.ts";
import type { SessionSettings } from "#platform/postgres/session.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/** A prepared statement: each connection prepares it once, under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly route: Route;
}

/**
 * The database that a statement runs on. Numbers are positions of its parameters, from 1; each
 * parameter is one value or an array:
 * - conversations: the database of all these conversations.
 * - pairs: the database of the direct conversations of these users.
 * - groupKey: the database of the group that the creator made under the key.
 * - everywhere: each database; the caller merges the rows as `merge` describes.
 * - own: rows of the database itself, such as its outbox.
 */
export type Route =
  | { readonly kind: "conversations"; readonly ids: number }
  | { readonly kind: "pairs"; readonly lows: number; readonly highs: number }
  | { readonly kind: "groupKey"; readonly creator: number; readonly key: number }
  | { readonly kind: "everywhere"; readonly merge: string }
  | { readonly kind: "own" };

/** Observes a run of a statement, for tests of the routes. */
export type ObserveRun = (database: number, statement: Statement, values: readonly Value[]) => void;

export type Value = Buffer | string | number | null;

/**
 * Planner settings of each session of server. Every statement of the server finds rows by index,
 * from arrays of keys. A prepared statement keeps its plan, so the planner must not choose a scan or
 * a hash join because the table is still small. Nested loops over sorted arrays also lock rows in
 * the order of the arrays, which prevents deadlocks. A join by LATERAL … OFFSET 0 looks up each row
 * by its whole key, in this order.
 */
export const PLANNER_SETTINGS = {
  enable_seqscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  plan_cache_mode: "force_generic_plan",
  jit: "off",
} satisfies SessionSettings;

export interface DatabaseOptions {
  readonly pool: pg.Pool;
  readonly clock: Clock;
  /** Index among the databases of the log; 0 when absent. */
  readonly number?: number;
  /**
   * Time without an answer to a statement after which further statements fail at once, ms. They also do
   * while no connection can be opened, until a probe has an answer. Undefined: they never do, and each of
   * them waits for a time-out.
   */
  readonly failAfterMs?: number | undefined;
  /** Called before each run of a statement, by tests. */
  readonly observe?: ObserveRun;
}

/**
 * Runs the server's statements on one PostgreSQL of the log. Throws UNAVAILABLE when PostgreSQL is
 * unreachable or no connection becomes free in time.
 */
export class Database {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;
  readonly number: number;
  readonly #failAfterMs: number | undefined;
  readonly #observe: ObserveRun | undefined;
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #unreachable = false;
  /** Wait of the last run for its connection, ms, and the time at which it got the connection. */
  #lastWaitMs = 0;
  #connectedAtMs = 0;
  /** Start of each unanswered run, elapsed ms, the oldest first. Only with `failAfterMs`. */
  readonly #open = new Map<symbol, number>();

  constructor({ pool, clock, number = 0, failAfterMs, observe }: DatabaseOptions) {
    this.#pool = pool;
    this.#clock = clock;
    this.number = number;
    this.#failAfterMs = failAfterMs;
    this.#observe = observe;
  }

  /**
   * Time of PostgreSQL's last answer, ms by the clock's elapsed time; -Infinity before the first.
   */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  /** Wait of runs for a connection, ms: at least that of the last one while others wait. */
  get waitMs(): number {
    if (this.#pool.waitingCount === 0) return 0;
    return Math.max(this.#lastWaitMs, this.#clock.elapsed() - this.#connectedAtMs);
  }

  /** Whether no connection could be opened since the last answer. */
  get unreachable(): boolean {
    return this.#unreachable;
  }

  /**
   * Runs one prepared statement in its own transaction. Throws UNAVAILABLE, and PostgreSQL's own error
   * for a conflict and for a bucket of another database (LK001).
   */
  run<R extends object>(statement: Statement, values: readonly Value[]): Promise<R[]> {
    if (this.away) return Promise.reject(unreachable());
    return this.#tracked(() => this.probe(statement, values));
  }

  /** Runs a statement as `run` does, also while no connection could be opened since the last answer. */
  async probe<R extends object>(statement: Statement, values: readonly Value[]): Promise<R[]> {
    this.#observe?.(this.number, statement, values);
    let client: pg.PoolClient;
    const startedAtMs = this.#clock.elapsed();
    try {
      client = await this.#pool.connect();
      this.#connectedAtMs = this.#clock.elapsed();
      this.#lastWaitMs = this.#connectedAtMs - startedAtMs;
    } catch (error) {
      this.#unreachable = true;
      throw databaseUnavailable(error) ?? error;
    }
    let broken: Error | undefined;
    try {
      const result = await client.query<R>({ ...statement, values: values as Value[] });
      this.#answered();
      return result.rows;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) broken = error as Error;
      if (isConflict(error) || isForeignBucket(error)) throw error;
      throw databaseUnavailable(error) ?? error;
    } finally {
      client.release(broken);
    }
  }

  /** Runs `work` in one transaction: commits when it returns, rolls back when it throws. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    if (this.away) throw unreachable();
    try {
      const result = await this.#tracked(() => transaction(this.#pool, work));
      this.#answered();
      return result;
    } catch (error) {
      if (isForeignBucket(error)) throw error;
      throw databaseUnavailable(error) ?? error;
    }
  }

  /** Whether statements fail at once; false without `failAfterMs`. */
  get away(): boolean {
    if (this.#failAfterMs === undefined) return false;
    if (this.#unreachable) return true;
    const [oldest] = this.#open.values();
    return oldest !== undefined && this.#clock.elapsed() - oldest > this.#failAfterMs;
  }

  async #tracked<T>(run: () => Promise<T>): Promise<T> {
    if (this.#failAfterMs === undefined) return run();
    const key = Symbol();
    this.#open.set(key, this.#clock.elapsed());
    try {
      return await run();
    } finally {
      this.#open.delete(key);
    }
  }

  #answered(): void {
    this.#answeredAtMs = this.#clock.elapsed();
    this.#unreachable = false;
  }
}

/** Back-off for callers while a database cannot be reached, ms. */
const UNREACHABLE_RETRY_MS = 500;

/** The error for callers while a database is away. */
export function unreachable(): Error {
  const text = "a database of the log cannot be reached";
  return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs: UNREACHABLE_RETRY_MS });
}

/** Whether the error is a unique violation: a row with this key exists. */
export function isDuplicateKey(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "23505";
}

/** Whether a bucket of the statement is not in this database, by im.owns. */
export function isForeignBucket(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && error.code === "LK001";
}

/** Whether the error is a deadlock or serialization failure: the same statement can be retried. */
export function isConflict(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === "40P01" || error.code === "40001");
}
