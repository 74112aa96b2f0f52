import { EntryInserter } from "./entry-inserter.ts";
import type { System } from "./system.ts";
import { settleTables, withTables } from "./tables.ts";

const ENTRIES_PER_CONVERSATION = 100;
const BATCH = 512;

/** Stores entries with the server's statement, in conversations that the run does not use. */
export function prefill({ postgresUrl }: System, entries: number): Promise<void> {
  return withTables(postgresUrl, async (tables) => {
    const begunMs = performance.now();
    const inserter = new EntryInserter(tables);
    if (entries > 0)
      await inserter.makeConversations(Math.ceil(entries / ENTRIES_PER_CONVERSATION));
    for (let left = entries; left > 0; left -= BATCH) {
      await inserter.insert(Math.min(BATCH, left));
    }
    if (entries > 0) await inserter.deleteOutbox();
    await settleTables(tables.pool);
    const seconds = ((performance.now() - begunMs) / 1_000).toFixed(1);
    if (entries > 0) console.log(`${entries} entries stored before, in ${seconds} s`);
  });
}
