import type pg from "pg";
import type { Clock } from "#platform/clock.ts";
import type { Pool } from "./pool.ts";

/** Whether a pool gets connections to PostgreSQL, and how long its users wait for them. */
export interface PoolState {
  /** Wait for a connection, ms: at least that of the last one while others wait. */
  readonly waitMs: number;
  /** Whether no connection could be had since the last one that was returned in order. */
  readonly unreachable: boolean;
}

type ConnectCallback = (
  error: Error | undefined,
  client: pg.PoolClient | undefined,
  done: (release?: unknown) => void,
) => void;
type Connect = (callback: ConnectCallback) => void;

/** Watches a pool from now on, also the users that reach it through a library. */
export function watchPool(pool: Pool, clock: Clock): PoolState {
  const connect = pool.connect.bind(pool) as Connect;
  let unreachable = false;
  let lastWaitMs = 0;
  let connectedAtMs = clock.elapsed();

  function watched(callback: ConnectCallback): void {
    const startedAtMs = clock.elapsed();
    connect((error, client, done) => {
      if (error) unreachable = true;
      else {
        connectedAtMs = clock.elapsed();
        lastWaitMs = connectedAtMs - startedAtMs;
      }
      callback(error, client, done);
    });
  }

  pool.connect = ((callback?: ConnectCallback) => {
    if (callback !== undefined) return watched(callback);
    return new Promise<pg.PoolClient>((resolve, reject) => {
      watched((error, client) => (error ? reject(error) : resolve(client as pg.PoolClient)));
    });
  }) as Pool["connect"];
  // A connection that failed is returned with its error.
  pool.on("release", (error) => {
    if (!error) unreachable = false;
  });

  return {
    get waitMs() {
      if (pool.waitingCount === 0) return 0;
      return Math.max(lastWaitMs, clock.elapsed() - connectedAtMs);
    },
    get unreachable() {
      return unreachable;
    },
  };
}
