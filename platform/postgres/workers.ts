import { randomUUID } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { type Pool, transaction } from "./pool.ts";

/** A worker number for ids. No other process holds it during the lease. */
export interface WorkerLease {
  /**
   * 0 to 1023. Reading it throws UNAVAILABLE after the end of the lease, also before the call of
   * `lost`.
   */
  readonly number: number;
  /** Releases the number. Idempotent. */
  release(): Promise<void>;
}

export interface WorkerOptions {
  pool: Pool;
  clock: Clock;
  /** Name of the holder, for operators: the instance id. */
  holder: string;
  log: Log;
  /** Called once when the lease is lost: no more ids may be created. */
  lost: () => void;
}

const LEASE_MS = 30_000;
const RENEW_MS = 5_000;
/** The holder stops using the number this long before PostgreSQL expires the lease. */
const MARGIN_MS = 5_000;
/** Pause between two leases of one number, ms: the clocks of the holders may differ. */
const REUSE_DELAY_MS = 10_000;
const LOCK = 7_265_001;

// Numbers that were never used come first, then the number whose lease ended first.
const TAKE = `
  INSERT INTO lucky.worker AS w (number, holder, expires_at)
  SELECT n, $1, now() + $2 * interval '1 millisecond'
  FROM generate_series(0, 1023) AS n LEFT JOIN lucky.worker used ON used.number = n
  WHERE used.number IS NULL OR used.expires_at < now() - $3 * interval '1 millisecond'
  ORDER BY used.expires_at NULLS FIRST, n LIMIT 1
  ON CONFLICT (number) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
  RETURNING number`;
const RENEW = `
  UPDATE lucky.worker SET expires_at = now() + $3 * interval '1 millisecond'
  WHERE number = $1 AND holder = $2 AND expires_at > now()`;
const RELEASE = "UPDATE lucky.worker SET expires_at = now() WHERE number = $1 AND holder = $2";

/**
 * Leases a worker number for 30 s and renews it every 5 s.
 *
 * The lease expires by PostgreSQL's clock. The holder stops 5 s earlier, by its own clock. Throws
 * UNAVAILABLE when all 1,024 numbers are held.
 */
export async function leaseWorker(options: WorkerOptions): Promise<WorkerLease> {
  const { pool, clock, log } = options;
  // Unique per process: a restarted instance must not share the lease of its predecessor.
  const holder = `${options.holder}/${randomUUID()}`;
  let deadline = clock.now() + LEASE_MS - MARGIN_MS;
  const number = await transaction(pool, async (client) => {
    await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK]);
    const { rows } = await client.query<{ number: number }>(TAKE, [
      holder,
      LEASE_MS,
      REUSE_DELAY_MS,
    ]);
    return rows[0]?.number;
  });
  if (number === undefined)
    throw fail(ErrorReason.UNAVAILABLE, "all 1,024 worker numbers are held");

  let state: "held" | "lost" | "released" = "held";
  const lose = (reason: string) => {
    if (state !== "held") return;
    state = "lost";
    timer.stop();
    log.error({ event: "worker_lease_lost", worker: number, reason });
    options.lost();
  };
  const renew = async () => {
    if (clock.now() >= deadline) return lose("not renewed in time");
    const askedAt = clock.now();
    try {
      const { rowCount } = await pool.query(RENEW, [number, holder, LEASE_MS]);
      if (rowCount === 0) lose("expired");
      else deadline = askedAt + LEASE_MS - MARGIN_MS;
    } catch (error) {
      log.warn({ event: "worker_lease_not_renewed", worker: number, err: error });
    }
  };
  const timer = clock.every(RENEW_MS, renew);
  log.info({ event: "worker_leased", worker: number });

  return {
    get number() {
      if (state !== "held" || clock.now() >= deadline)
        throw fail(ErrorReason.UNAVAILABLE, "the worker number's lease has ended");
      return number;
    },
    async release() {
      if (state !== "held") return;
      state = "released";
      timer.stop();
      await pool.query(RELEASE, [number, holder]);
    },
  };
}
