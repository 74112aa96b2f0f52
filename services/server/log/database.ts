import pg from "pg";
import type { Clock } from "#platform/clock.ts";
import { transaction } from "#platform/postgres/pool.ts";
import type { SessionSettings } from "#platform/postgres/session.ts";
import { databaseUnavailable } from "#platform/postgres/unavailable.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/** A prepared statement: each connection prepares it once, under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

type Value = Buffer | string | number | null;

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

/**
 * Runs the server's statements on PostgreSQL. Throws UNAVAILABLE when PostgreSQL is unreachable or
 * no connection becomes free in time.
 */
export class Database {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;
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

  /** Runs one prepared statement in its own transaction. Throws a conflict as PostgreSQL's error. */
  async run<R extends object>(statement: Statement, values: readonly Value[]): Promise<R[]> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw databaseUnavailable(error) ?? error;
    }
    let broken: Error | undefined;
    try {
      const result = await client.query<R>({ ...statement, values: values as Value[] });
      this.#answeredAtMs = this.#clock.elapsed();
      return result.rows;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) broken = error as Error;
      if (isConflict(error)) throw error;
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
