import { create } from "@bufbuild/protobuf";
import {
  EditMessageRequestSchema,
  SetReactionsRequestSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import {
  ListChangedMessagesRequestSchema,
  type ListMessagesRequest,
  ListMessagesRequestSchema,
} from "#gen/lucky/message/v1/history_pb.js";
import { systemClock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { createLog } from "#platform/log.ts";
import { syncPage } from "../../services/server/catch-up/sync.ts";
import type { ChangeDependencies } from "../../services/server/changes/change.ts";
import { editMessage } from "../../services/server/changes/edits.ts";
import { Reactions } from "../../services/server/changes/reactions.ts";
import { serverConfig } from "../../services/server/config.ts";
import { listMessages } from "../../services/server/history/message-pages.ts";
import { listChangedMessages } from "../../services/server/history/messages.ts";
import { Logs } from "../../services/server/log/logs.ts";
import { Turns } from "../../services/server/log/turns.ts";
import { entryWriter } from "../../services/server/log/write-entry.ts";
import { rounded } from "../command/report.ts";
import { median } from "../statistics/median.ts";
import { startDatabase, withCleanUp } from "../system/database.ts";
import { EntryInserter } from "../system/entry-inserter.ts";
import { settleTables } from "../system/tables.ts";
import type { CostPart } from "./cost-part.ts";

/** Messages of the short conversation; the long one has `historyEntries`. Both are multiples of a batch. */
const SHORT = 1_000;
const BATCH = 500;
/** One of so many messages is changed: every second one of them is edited, the others get a reaction. */
const CHANGED = 100;
const OUTBOX_BATCHES = 20;
/**
 * Direct conversations beside the measured one, and their messages. With a single sender in its statistics,
 * PostgreSQL would expect that a condition on the sender excludes nothing, and use other indexes.
 */
const OTHERS = 100;
const MESSAGES_OF_OTHERS = 1_000;
const SAMPLES = 500;
const WARMUP_SAMPLES = 100;
const PAGE = 50;
/** Entries after the read cursors. */
const UNREAD = 500;
/** Both logs are in memory, so that the disk is not compared. */
const SHARED_BUFFERS = "2GB";

/** A database with one direct conversation. */
interface Side {
  readonly inserter: EntryInserter;
  readonly logs: Logs;
  readonly conversationId: string;
  /** Has sent all messages. */
  readonly senderId: string;
  readonly readerId: string;
  readonly lastSequence: number;
  /** Moves the read cursors of both users. */
  readonly setRead: (sequence: number) => Promise<void>;
}

/** A read, which returns how many it found, or an append. */
type Work = (side: Side) => Promise<number>;

/**
 * The statements of the server on a long conversation and on a short one, each in a database of its own, past
 * the services. One of a hundred messages was edited or got a reaction, by the server's own functions. The two
 * take turns, so that a change of the machine's speed affects both.
 */
export const historyCosts: CostPart = ({ bench, historyEntries }) => {
  bench.loadBegins();
  return withCleanUp(async (started) => {
    const makeSide = async (entries: number) => {
      const { pool, ids } = await startDatabase(started, { shared_buffers: SHARED_BUFFERS });
      const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
      const clock = systemClock;
      const logs = new Logs({ pools: [pool], clock, log, answerMs: 2_000 });
      await logs.start();
      started.push(async () => logs.stop());
      const others = new EntryInserter({ pool, ids, clock });
      await others.makeConversations(OTHERS);
      await others.insert(MESSAGES_OF_OTHERS);
      const inserter = new EntryInserter({ pool, ids, clock });
      const [conversationId] = await inserter.makeConversations(1);
      const config = defaultsOf(serverConfig);
      const writeEntry = entryWriter({ ids, clock, outboxDelayMs: config.outboxDelayMs });
      const turns = new Turns();
      const dependencies = { logs, clock, config, turns, writeEntry, publish: () => {} };
      const filled = { conversationId: conversationId!, inserter, dependencies };
      const emptyOutbox = () => pool.query("DELETE FROM im.outbox");
      const beganMs = performance.now();
      const lastSequence = await fill(filled, { entries, emptyOutbox });
      await settleTables(pool);
      const seconds = ((performance.now() - beganMs) / 1_000).toFixed(0);
      console.log(`${lastSequence} entries stored in ${seconds} s`);
      return {
        inserter,
        logs,
        conversationId: conversationId!,
        senderId: conversationId!,
        readerId: String(BigInt(conversationId!) + 1n),
        lastSequence,
        async setRead(sequence: number) {
          await pool.query("UPDATE im.member SET read_sequence = $1 WHERE conversation_id = $2", [
            sequence,
            conversationId,
          ]);
        },
      };
    };
    const sides = [await makeSide(SHORT), await makeSide(historyEntries)] as const;
    const figures: Record<string, { short_ms: number; long_ms: number; ratio: number }> = {};
    const faults: string[] = [];
    const measure = async (works: Readonly<Record<string, Work>>) => {
      for (const [name, work] of Object.entries(works)) {
        const [short, long] = await takeTurns(sides, work);
        const [short_ms, long_ms] = [median(short.times), median(long.times)];
        figures[name] = {
          short_ms: rounded(short_ms, 3)!,
          long_ms: rounded(long_ms, 3)!,
          ratio: rounded(long_ms / short_ms, 2)!,
        };
        if (short.found !== long.found)
          faults.push(`${name} found ${short.found} and ${long.found} in the long conversation`);
      }
    };
    for (const side of sides) await side.setRead(side.lastSequence - UNREAD);
    await measure(reads);
    const bounded = Object.values(figures);
    // The own messages after the cursor are counted one by one, up to 10,000: a bound, not a constant.
    for (const side of sides) await side.setRead(0);
    await measure({
      sync_of_reader_who_read_nothing: (side) => unreadOfAll(side, side.readerId),
      sync_of_sender_who_read_nothing: (side) => unreadOfAll(side, side.senderId),
    });
    await measure({ append });
    return {
      costs: new Map(),
      faults,
      figures: {
        short: sides[0].lastSequence,
        long: sides[1].lastSequence,
        most_ratio: Math.max(...bounded.map(({ ratio }) => ratio), figures.append!.ratio),
        medians: figures,
      },
    };
  });
};

interface Filled {
  readonly conversationId: string;
  readonly inserter: EntryInserter;
  readonly dependencies: ChangeDependencies;
}

/** Stores messages in batches, and changes some of each batch. Returns the last sequence. */
async function fill(
  { conversationId, inserter, dependencies }: Filled,
  { entries, emptyOutbox }: { entries: number; emptyOutbox: () => Promise<unknown> },
): Promise<number> {
  const reactions = new Reactions(dependencies);
  const senderId = conversationId;
  const perBatch = BATCH / CHANGED;
  let last = 0;
  for (let nth = 1; nth <= entries / BATCH; nth++) {
    await inserter.insert(BATCH);
    for (let changed = 0; changed < perBatch; changed++) {
      const sequence = BigInt(last + 1 + changed * CHANGED);
      if (changed % 2 === 0) {
        const call = { conversationId, sequence, emojis: ["👍"] };
        await reactions.set(create(SetReactionsRequestSchema, call), senderId);
      } else {
        const change = { case: "text", value: { text: "y".repeat(128) } } as const;
        const call = { conversationId, sequence, clientMessageId: `edit-${sequence}`, change };
        await editMessage(dependencies, create(EditMessageRequestSchema, call), senderId);
      }
    }
    last += BATCH + perBatch;
    if (nth % OUTBOX_BATCHES === 0) await emptyOutbox();
  }
  await emptyOutbox();
  return last;
}

async function page(side: Side, position: ListMessagesRequest["position"]): Promise<number> {
  const { conversationId, readerId: userId, logs } = side;
  const request = create(ListMessagesRequestSchema, { conversationId, position, pageSize: PAGE });
  return (await listMessages(logs, { userId, request })).messages.length;
}

async function unread({ logs }: Side, userId: string): Promise<number> {
  const { conversations } = await syncPage(logs, { userId, request: { cursor: "", pageSize: 0 } });
  return Number(conversations[0]!.unreadCount);
}

/** As `unread`, for a count that depends on the length of the conversation: it is not compared. */
async function unreadOfAll(side: Side, userId: string): Promise<number> {
  await unread(side, userId);
  return 0;
}

async function append({ inserter }: Side): Promise<number> {
  await inserter.insert(1);
  return 1;
}

/** Reads that find as much in both conversations. */
const reads: Readonly<Record<string, Work>> = {
  list_messages_newest: (side) =>
    page(side, { case: "beforeSequence", value: BigInt(Number.MAX_SAFE_INTEGER) }),
  list_messages_middle: (side) => {
    const { lastSequence } = side;
    const middle = Math.floor(lastSequence * (0.25 + Math.random() / 2));
    return page(side, { case: "beforeSequence", value: BigInt(middle) });
  },
  list_changed_messages: async ({ conversationId, readerId: userId, logs, lastSequence }) => {
    const request = create(ListChangedMessagesRequestSchema, {
      conversationId,
      afterSequence: BigInt(lastSequence - SHORT),
      fromSequence: 1n,
      toSequence: BigInt(lastSequence),
      pageSize: PAGE,
    });
    return (await listChangedMessages(logs, { userId, request })).messages.length;
  },
  sync_unread_of_reader: (side) => unread(side, side.readerId),
  sync_unread_of_sender: (side) => unread(side, side.senderId),
};

/** Runs work on both sides in turns. Returns the times, ms, and what the last run found, of each side. */
async function takeTurns(sides: readonly [Side, Side], work: Work) {
  const runs = sides.map((side) => ({ side, times: [] as number[], found: 0 }));
  for (let nth = 0; nth < WARMUP_SAMPLES + SAMPLES; nth++) {
    for (const run of nth % 2 === 0 ? runs : runs.toReversed()) {
      const startMs = performance.now();
      run.found = await work(run.side);
      if (nth >= WARMUP_SAMPLES) run.times.push(performance.now() - startMs);
    }
  }
  return runs as [(typeof runs)[0], (typeof runs)[0]];
}
