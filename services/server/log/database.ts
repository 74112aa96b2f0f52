import pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { transaction } from "#platform/postgres/pool.ts";

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
 * Runs the server's statements on PostgreSQL. Throws UNAVAILABLE when PostgreSQL is unreachable.
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
      throw toUnavailable(error);
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
      throw toUnavailable(error);
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
      throw toUnavailable(error);
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

/**
 * SQLSTATE classes and codes: connection exception, insufficient resources, operator intervention,
 * system error, read-only transaction (on a standby).
 */
const UNREACHABLE_CODES = /^(08|53|57|58)|^25006$/;

/** Maps an unreachable PostgreSQL to UNAVAILABLE; returns any other error unchanged. */
function toUnavailable(error: unknown): unknown {
  const lost =
    error instanceof pg.DatabaseError
      ? UNREACHABLE_CODES.test(error.code ?? "")
      : isConnectionError(error);
  if (!lost) return error;
  return fail(ErrorReason.UNAVAILABLE, "the database cannot be reached", {
    retryAfterMs: 1_000,
    cause: error,
  });
}

function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== undefined && /^E[A-Z_]+$/.test(code)) return true;
  return /^(Connection terminated|timeout e|timeout ex|Client (has|was)|Query read timeout)/i.test(
    error.message,
  );
}
