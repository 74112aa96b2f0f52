import type { Pool } from "pg";
import { systemClock } from "#platform/clock.ts";
import { createIds } from "#platform/ids.ts";
import { createLog } from "#platform/log.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { PLANNER_SETTINGS } from "../../services/server/log/database.ts";
import { EntryInserter } from "./entry-inserter.ts";
import type { System } from "./system.ts";

const ENTRIES_PER_CONVERSATION = 100;
const BATCH = 512;

/**
 * Vacuums the tables and forces a checkpoint, so that runs are comparable, however many entries are stored.
 */
async function settleTables(pool: Pool): Promise<void> {
  await pool.query("VACUUM ANALYZE im.entry, im.conversation, im.outbox, im.member");
  await pool.query("CHECKPOINT");
}

/** Stores entries with the server's statement, in conversations that the run does not use. */
export async function prefill({ postgresUrl }: System, entries: number): Promise<void> {
  const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
  const clock = systemClock;
  const pool = createPool({
    url: postgresUrl,
    max: 4,
    session: PLANNER_SETTINGS,
    log,
    name: "bench",
  });
  const worker = await holdWorker({ pool, clock, holder: "bench", log });
  try {
    const ids = createIds({ window: worker.window, clock });
    const begunMs = performance.now();
    const inserter = new EntryInserter({ pool, ids, clock });
    if (entries > 0)
      await inserter.makeConversations(Math.ceil(entries / ENTRIES_PER_CONVERSATION));
    for (let left = entries; left > 0; left -= BATCH) {
      await inserter.insert(Math.min(BATCH, left));
    }
    if (entries > 0) await inserter.deleteOutbox();
    await settleTables(pool);
    const seconds = ((performance.now() - begunMs) / 1_000).toFixed(1);
    if (entries > 0) console.log(`${entries} entries stored before, in ${seconds} s`);
  } finally {
    await worker.release();
    await pool.end();
  }
}
