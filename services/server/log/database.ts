import pg from "pg";
import type { Clock } from "#platform/clock.ts";
import { transaction } from "#platform/postgres/pool.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/** A prepared statement: each connection prepares it once, under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/**
 * Time-out of one query, ms. It is longer than PostgreSQL's statement time-out, so that after it
 * the answer is certainly lost.
 */
const QUERY_TIMEOUT_MS = 20_000;

type Value = Buffer | string | number | null;

/**
 * Planner settings of each connection. Every statement of the server finds rows by index, from
 * arrays of keys. A prepared statement keeps its plan, so the planner must not choose a scan or a
 * hash join because the table is still small. Nested loops over sorted arrays also lock rows in the
 * order of the arrays, which prevents deadlocks. A join by LATERAL … OFFSET 0 looks up each row by
 * its whole key, in this order.
 */
export const PLANNER_SETTINGS = [
  "SET enable_seqscan = off",
  "SET enable_hashjoin = off",
  "SET enable_mergejoin = off",
  "SET plan_cache_mode = force_generic_plan",
  "SET jit = off",
].join("; ");

/**
 * Runs the server's statements on PostgreSQL. Throws UNAVAILABLE when PostgreSQL is unreachable or
 * no connection becomes free in time.
 */
export class Database {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;
  readonly #configured = new WeakSet<pg.PoolClient>();
  #answeredAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: { pool: pg.Pool; clock: Clock }) {
    this.#pool = options.pool;
    this.#clock = options.clock;
  }

  /**
   * Time of PostgreSQL's last answer, ms by the clock's elapsed time; -Infinity before the first.
   */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  /** Runs one prepared statement in its own transaction. Time-out: 20 s. */
  async run<R extends object>(statement: Statement, values: readonly Value[]): Promise<R[]> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw databaseUnavailable(error) ?? error;
    }
    let broken: Error | undefined;
    try {
      if (!this.#configured.has(client)) {
        await client.query(PLANNER_SETTINGS);
        this.#configured.add(client);
      }
      const query = { ...statement, values: values as Value[], query_timeout: QUERY_TIMEOUT_MS };
      const result = await client.query<R>(query);
      this.#answeredAtMs = this.#clock.elapsed();
      return result.rows;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) broken = error as Error;
      throw databaseUnavailable(error) ?? error;
    } finally {
      client.release(broken);
    }
  }

  /** Runs `work` in one transaction: commits when it returns, rolls back when it throws. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    try {
      const result = await transaction(this.#pool, work);
      this.#answeredAtMs = this.#clock.elapsed();
      return result;
    } catch (error) {
      throw databaseUnavailable(error) ?? error;
    }
  }
}

/** Whether the error is a unique violation: a row with this key exists. */
export function isDuplicateKey(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "23505";
}

/** Whether the error is a deadlock or serialization failure: the same statement can be retried. */
export function isConflict(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === "40P01" || error.code === "40001");
}
