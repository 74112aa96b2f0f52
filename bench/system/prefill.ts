import type { Pool } from "pg";
import { systemClock } from "#platform/clock.ts";
import { createIds } from "#platform/ids.ts";
import { createLog } from "#platform/log.ts";
import { createPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { EntryInserter } from "./entry-inserter.ts";
import type { System } from "./system.ts";

const PER_CONVERSATION = 100;
const BATCH = 512;

/** What comes after has the same start, whatever was stored before. */
async function settleTables(pool: Pool): Promise<void> {
  await pool.query("VACUUM ANALYZE im.entry, im.conversation, im.outbox, im.member");
  await pool.query("CHECKPOINT");
}

/** Stores entries, as the server does but past it, in conversations that nobody else uses. */
export async function prefill({ postgresUrl }: System, entries: number): Promise<void> {
  const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
  const clock = systemClock;
  const pool = createPool({ url: postgresUrl, max: 4, log, name: "bench" });
  const worker = await holdWorker({ pool, clock, holder: "bench", log });
  try {
    const ids = createIds({ worker: worker.number, clock });
    const begunMs = performance.now();
    const inserter = new EntryInserter({ pool, ids, clock });
    if (entries > 0) await inserter.makeConversations(Math.ceil(entries / PER_CONVERSATION));
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
