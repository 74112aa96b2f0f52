import { randomUUID } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { ID_END_MS, ID_EPOCH_MS, type IdWindow } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import { endsWithin } from "#platform/waiting.ts";
import { type Pool, transaction } from "./pool.ts";

/** A worker number for ids, and the times that its holder may put into them. */
export interface WorkerLease {
  /**
   * Reading it throws UNAVAILABLE after the end of the lease, also before the call of `lost`. Each
   * renewal moves its end.
   */
  readonly window: IdWindow;
  /** Releases the number. Idempotent. */
  release(): Promise<void>;
}

export interface WorkerOptions {
  pool: Pool;
  clock: Clock;
  /** Name of the holder, for operators: the instance id. */
  holder: string;
  log: Log;
  /** The greatest time in ids so far, milliseconds since the Unix epoch; 0 for none. */
  usedMs: () => number;
  /** Called once when the lease is lost: no more ids may be created. */
  lost: () => void;
}

const LEASE_MS = 30_000;
const RENEW_MS = 5_000;
/** The holder stops using the number this long before PostgreSQL expires the lease. */
const MARGIN_MS = 5_000;
/** Pause between two leases of one number, ms: the clocks of the holders may differ. */
const REUSE_DELAY_MS = 10_000;
/** Time-out of the release of a number, ms. */
const RELEASE_TIMEOUT_MS = 1_000;
const LOCK = 7_265_001;
const DAY_MS = 86_400_000;
/** Time after which another number may be leased, for callers, ms. */
const retryAfterMs = 1_000;

// Numbers that were never used come first, then the number whose lease ended first. A lease that
// seems to end later than a lease can end is from before a step of PostgreSQL's clock; it comes last.
const TAKE = `
  INSERT INTO lucky.worker AS w (number, holder, expires_at, reserved_until_ms)
  SELECT n, $1, now() + $2::int * interval '1 millisecond',
         GREATEST(used.reserved_until_ms, $4::bigint) + $2::int
  FROM generate_series(0, 1023) AS n LEFT JOIN lucky.worker used ON used.number = n
  WHERE used.number IS NULL
     OR (used.expires_at < now() - $3::int * interval '1 millisecond'
         OR used.expires_at > now() + ($2::int + $3::int) * interval '1 millisecond')
        AND used.reserved_until_ms < $5::bigint
  ORDER BY used.expires_at NULLS FIRST, n LIMIT 1
  ON CONFLICT (number) DO UPDATE SET
    holder = excluded.holder, expires_at = excluded.expires_at,
    -- Not from "used": its holder may have renewed the lease since this statement began.
    reserved_until_ms = GREATEST(w.reserved_until_ms, $4::bigint) + $2::int
  RETURNING number, reserved_until_ms`;
const RENEW = `
  UPDATE lucky.worker SET
    expires_at = now() + $3::int * interval '1 millisecond',
    reserved_until_ms = GREATEST(reserved_until_ms, $4::bigint + $3::int)
  WHERE number = $1 AND holder = $2
  RETURNING reserved_until_ms`;
const RELEASE = "UPDATE lucky.worker SET expires_at = now() WHERE number = $1 AND holder = $2";

/**
 * Leases a worker number for 30 s and renews it every 5 s.
 *
 * The lease expires by PostgreSQL's clock. The holder stops 5 s earlier, by the time that elapsed in
 * its process. Ids stay unique even when one of these clocks is wrong, steps or sleeps: each lease and
 * each renewal reserves times for the ids of the number in its row, which only ever move forward, and
 * the next holder starts where the reserved times end. Throws UNAVAILABLE when all 1,024 numbers are
 * held.
 */
export async function leaseWorker(options: WorkerOptions): Promise<WorkerLease> {
  const { pool, clock, log } = options;
  // Unique per process: a restarted instance must not share the lease of its predecessor.
  const holder = `${options.holder}/${randomUUID()}`;
  let deadline = clock.elapsed() + LEASE_MS - MARGIN_MS;
  const taken = await transaction(pool, async (client) => {
    await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK]);
    const { rows } = await client.query<{ number: number } & Reservation>(TAKE, [
      holder,
      LEASE_MS,
      REUSE_DELAY_MS,
      startOf(options),
      ID_END_MS - DAY_MS,
    ]);
    return rows[0];
  });
  if (taken === undefined)
    throw fail(ErrorReason.UNAVAILABLE, "all 1,024 worker numbers are held", { retryAfterMs });
  const { number } = taken;
  const fromMs = Number(taken.reserved_until_ms) - LEASE_MS;
  const windowUntil = ({ reserved_until_ms: untilMs }: Reservation): IdWindow => ({
    worker: number,
    fromMs,
    untilMs: Number(untilMs),
  });
  let window = windowUntil(taken);

  let state: "held" | "lost" | "released" = "held";
  const lose = (reason: string) => {
    if (state !== "held") return;
    state = "lost";
    timer.stop();
    log.error({ event: "worker_lease_lost", worker: number, reason });
    options.lost();
  };
  const renew = async () => {
    const askedAt = clock.elapsed();
    if (askedAt >= deadline) return lose("not renewed in time");
    try {
      const values = [number, holder, LEASE_MS, startOf(options)];
      const { rows } = await pool.query<Reservation>(RENEW, values);
      const [renewed] = rows;
      if (renewed === undefined) return lose("taken by another process");
      deadline = askedAt + LEASE_MS - MARGIN_MS;
      window = windowUntil(renewed);
    } catch (error) {
      log.warn({ event: "worker_lease_not_renewed", worker: number, err: error });
    }
  };
  const timer = clock.every(RENEW_MS, renew);
  log.info({ event: "worker_leased", worker: number });

  return {
    get window() {
      if (state !== "held" || clock.elapsed() >= deadline)
        throw fail(ErrorReason.UNAVAILABLE, "the worker number's lease has ended", {
          retryAfterMs,
        });
      return window;
    },
    async release() {
      if (state !== "held") return;
      state = "released";
      timer.stop();
      // Otherwise the lease expires; a stop neither fails nor waits because the database is
      // unreachable.
      const released = pool.query(RELEASE, [number, holder]).catch((err: unknown) => {
        log.warn({ event: "worker_lease_not_released", worker: number, err });
      });
      await endsWithin(RELEASE_TIMEOUT_MS, released);
    },
  };
}

interface Reservation {
  /** bigint: a string. */
  readonly reserved_until_ms: string;
}

/**
 * Start of the times to reserve: now, or after the greatest time used so far if the clock stepped
 * back. A time of day that no id can contain counts as the earliest one.
 */
function startOf({ clock, usedMs }: WorkerOptions): number {
  const nowMs = clock.now();
  const valid = nowMs >= ID_EPOCH_MS && nowMs < ID_END_MS - DAY_MS;
  return Math.max(valid ? nowMs : ID_EPOCH_MS, usedMs() + 1);
}
