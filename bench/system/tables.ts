import type { Pool } from "pg";
import { type Clock, systemClock } from "#platform/clock.ts";
import { createIds, type Ids } from "#platform/ids.ts";
import { createLog, type Log } from "#platform/log.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { PLANNER_SETTINGS } from "../../services/server/log/database.ts";

/** Access to the tables of a running Lucky, past its services. */
export interface Tables {
  readonly pool: Pool;
  readonly ids: Ids;
  readonly clock: Clock;
  readonly log: Log;
}

/** Connects to the tables, runs the work, and disconnects. */
export async function withTables<T>(
  postgresUrl: string,
  work: (tables: Tables) => Promise<T>,
): Promise<T> {
  const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
  const clock = systemClock;
  const pool = createPool({
    url: postgresUrl,
    max: 4,
    session: PLANNER_SETTINGS,
    log,
    name: "bench",
  });
  try {
    const worker = await holdWorker({ pool, clock, holder: "bench", log });
    try {
      return await work({ pool, ids: createIds({ window: worker.window, clock }), clock, log });
    } finally {
      await worker.release();
    }
  } finally {
    await pool.end();
  }
}

/**
 * Vacuums the tables and forces a checkpoint, so that runs are comparable, however many entries are stored.
 */
export async function settleTables(pool: Pool): Promise<void> {
  await pool.query("VACUUM ANALYZE im.entry, im.conversation, im.outbox, im.member");
  await pool.query("CHECKPOINT");
}

/** Turns autovacuum off, so that the clean-up after earlier work is not measured. Needs a superuser. */
export async function stopAutovacuum(pool: Pool): Promise<void> {
  await pool.query("ALTER SYSTEM SET autovacuum = off");
  await pool.query("SELECT pg_reload_conf()");
}
