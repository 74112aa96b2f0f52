import { create } from "@bufbuild/protobuf";
import { ListEntriesRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { listEntries } from "../../services/server/catch-up/history.ts";
import { syncPage } from "../../services/server/catch-up/sync.ts";
import { Logs } from "../../services/server/log/logs.ts";
import { rounded } from "../command/report.ts";
import { median } from "../statistics/median.ts";
import { EntryInserter } from "../system/entry-inserter.ts";
import { settleTables, withTables } from "../system/tables.ts";
import type { CostPart } from "./cost-part.ts";
import { type Cost, costOf, cpuDuring } from "./costs.ts";

const BATCH = 512;
const OUTBOX_BATCHES = 20;
const SAMPLES = 2_000;
const WARMUP_SAMPLES = 200;
const PAGE = 100;
/** Conversations that are read over and over: their rows are in the caches, whatever the size of the log. */
const WARM_CONVERSATIONS = 100;

/**
 * The statements of the server on a log of a given size, one at a time and each in another conversation, past
 * the services: appends of one entry, Sync, and pages of history. One user of each conversation has sent all of
 * its entries, the other one has read none: the unread count of the first subtracts the own entries. The reads
 * run twice: in any conversation, and in a few warm ones, as those of active users are.
 */
export const logCosts: CostPart = ({ bench, system, entries, logConversations }) => {
  bench.loadBegins();
  return withTables(system.postgresUrl, async (tables) => {
    const inserter = new EntryInserter(tables);
    const ids = await inserter.makeConversations(logConversations);
    const beganMs = performance.now();
    for (let left = entries, nth = 1; left > 0; left -= BATCH, nth++) {
      await inserter.insert(Math.min(BATCH, left));
      // Server reads the outbox twice a minute.
      if (nth % OUTBOX_BATCHES === 0) await inserter.deleteOutbox();
    }
    await inserter.deleteOutbox();
    await settleTables(tables.pool);
    const seconds = ((performance.now() - beganMs) / 1_000).toFixed(0);
    console.log(`${entries} entries stored in ${seconds} s`);

    const logs = new Logs({
      pools: [tables.pool],
      clock: tables.clock,
      log: tables.log,
      answerMs: 2_000,
    });
    await logs.start();
    // Random conversations: the pages of neighbours would be in the cache.
    const anyOf = (from: readonly string[]) => () => from[Math.floor(Math.random() * from.length)]!;
    const pick = anyOf(ids);
    const warm = anyOf(Array.from({ length: WARM_CONVERSATIONS }, pick));
    const readerOf = (conversationId: string) => String(BigInt(conversationId) + 1n);
    const sync = (userId: string) =>
      syncPage(logs, { userId, request: { cursor: "", pageSize: 0 } });
    const page = (userId: string) => {
      const request = create(ListEntriesRequestSchema, {
        conversationId: userId,
        position: { case: "beforeSequence", value: BigInt(Number.MAX_SAFE_INTEGER) },
        pageSize: PAGE,
      });
      return listEntries(logs, { userId, request });
    };
    const work: Record<string, () => Promise<unknown>> = {
      append: () => inserter.insert(1),
      sync_unread_of_reader: () => sync(readerOf(pick())),
      sync_unread_of_sender: () => sync(pick()),
      page_of_history: () => page(pick()),
      warm_sync_unread_of_reader: () => sync(readerOf(warm())),
      warm_sync_unread_of_sender: () => sync(warm()),
      warm_page_of_history: () => page(warm()),
    };
    const costs = new Map<string, Cost>();
    const medians: Record<string, number | null> = {};
    for (const [name, once] of Object.entries(work)) {
      for (let nth = 0; nth < WARMUP_SAMPLES; nth++) await once();
      const times: number[] = [];
      const used = await cpuDuring(system.processes, async () => {
        for (let nth = 0; nth < SAMPLES; nth++) {
          const startMs = performance.now();
          await once();
          times.push(performance.now() - startMs);
        }
      });
      costs.set(`log_${name}`, costOf({ per: "call", count: SAMPLES, used }));
      medians[`${name}_ms`] = rounded(median(times), 3);
    }
    await inserter.deleteOutbox();
    return { costs, faults: [], figures: { entries, conversations: logConversations, medians } };
  });
};
