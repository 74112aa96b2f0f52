import pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { transaction } from "#platform/postgres/pool.ts";

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

/** A statement that is prepared once a connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** How long an answer may take: more than PostgreSQL gives a statement, so it has gone astray. */
const QUERY_TIMEOUT_MS = 20_000;

type Value = Buffer | string | number | null;

/**
 * Every statement here goes from arrays of keys to rows by index. The planner must not think
 * otherwise because a table is still small when it plans: the plan of a prepared statement stays.
 * Nested loops over sorted arrays also lock rows in the order of the arrays. Where a statement joins by
 * LATERAL … OFFSET 0, it is so that each row is looked up by its whole key, in this order.
 */
export const PLANNER_SETTINGS = [
  "SET enable_seqscan = off",
  "SET enable_hashjoin = off",
  "SET enable_mergejoin = off",
  "SET plan_cache_mode = force_generic_plan",
  "SET jit = off",
].join("; ");

/** The server's way to PostgreSQL. Throws UNAVAILABLE when it cannot be reached. */
export class Database {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;
  readonly #planned = new WeakSet<pg.PoolClient>();
  #answeredAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: { pool: pg.Pool; clock: Clock }) {
    this.#pool = options.pool;
    this.#clock = options.clock;
  }

  /** When PostgreSQL last answered, of the time that has elapsed; before all of it for never. */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  /** Runs one prepared statement in a transaction of its own. */
  async run<R extends object>(statement: Statement, values: readonly Value[]): Promise<R[]> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw withReason(error);
    }
    let broken: Error | undefined;
    try {
      if (!this.#planned.has(client)) {
        await client.query(PLANNER_SETTINGS);
        this.#planned.add(client);
      }
      const query = { ...statement, values: values as Value[], query_timeout: QUERY_TIMEOUT_MS };
      const result = await client.query<R>(query);
      this.#answeredAtMs = this.#clock.elapsed();
      return result.rows;
    } catch (error) {
      if (!(error instanceof pg.DatabaseError)) broken = error as Error;
      throw withReason(error);
    } finally {
      client.release(broken);
    }
  }

  /** Runs `work` in one transaction: committed when it returns, rolled back when it throws. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    try {
      const result = await transaction(this.#pool, work);
      this.#answeredAtMs = this.#clock.elapsed();
      return result;
    } catch (error) {
      throw withReason(error);
    }
  }
}

/** Whether a unique key was violated: something is there already. */
export function isDuplicateKey(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "23505";
}

/** Whether the statement lost against another one and may be run again as it is. */
export function isConflict(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === "40P01" || error.code === "40001");
}

/** Connection lost, resources short, operator's intervention, system error, read-only standby. */
const UNREACHABLE_CODES = /^(08|53|57|58)|^25006$/;

function withReason(error: unknown): unknown {
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
