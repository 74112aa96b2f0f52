import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect";
import { ConversationService } from "../../gen/lucky/message/v1/conversation_pb.js";
import {
  type Entry,
  EntrySchema,
  MessageStateSchema,
} from "../../gen/lucky/message/v1/entry_pb.js";
import {
  HistoryService,
  type ListChangedMessagesRequest,
} from "../../gen/lucky/message/v1/history_pb.js";
import {
  type ListEntriesRequest,
  MessageService,
  type SyncRequest,
} from "../../gen/lucky/message/v1/message_pb.js";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { MessageHistory } from "../messages/message-history.ts";
import { MessageRanges } from "../messages/message-ranges.ts";
import { MemoryStore } from "../store.ts";
import { ConversationLogs } from "./conversation-logs.ts";
import type { ConversationLogsOptions } from "./conversation-logs-options.ts";

export const entry = (conversationId: string, sequence: number): Entry =>
  create(EntrySchema, { conversationId, sequence: BigInt(sequence), senderId: "2" });

interface FixtureServer {
  /** Epoch of all logs. */
  epoch: bigint;
  /** By conversation: the changed_sequence of its changed messages, by their sequences. */
  changed: Record<string, Record<number, number>>;
  /** Called between the read of each answer of HistoryService and its arrival; may throw. */
  duringCall: (call: "listMessages" | "listChangedMessages") => void | Promise<void>;
}

/** The messages of the server's logs; pages of changed messages have two. */
function historyOf(
  server: FixtureServer,
  lengths: Record<string, number>,
  { first = 1, asked }: { first?: number | undefined; asked: ListChangedMessagesRequest[] },
) {
  const read = (id: string, sequence: number) => {
    const changedSequence = BigInt(server.changed[id]?.[sequence] ?? 0);
    return { ...entry(id, sequence), state: create(MessageStateSchema, { changedSequence }) };
  };
  return createRouterTransport(({ service }) => {
    service(HistoryService, {
      listMessages: async ({ conversationId: id, position, pageSize }) => {
        const lastSequence = lengths[id]!;
        const high = Math.min(Number(position.value) - 1, lastSequence);
        const low = Math.max(first, high - pageSize + 1);
        const messages = [];
        for (let at = low; at <= high; at++) messages.push(read(id, at));
        const page = { messages, newerAfterSequence: BigInt(high), epoch: server.epoch };
        const older = low > first ? BigInt(low) : 0n;
        await server.duringCall("listMessages");
        return { ...page, olderBeforeSequence: older, lastSequence: BigInt(lastSequence) };
      },
      listChangedMessages: async (request) => {
        asked.push(request);
        const { conversationId: id, fromSequence, toSequence, pageToken } = request;
        const after = Number(pageToken || request.afterSequence);
        const found = Object.entries(server.changed[id] ?? {})
          .map(([sequence, changed]) => ({ sequence: Number(sequence), changed }))
          .filter(({ sequence, changed }) => {
            return changed > after && sequence >= fromSequence && sequence <= toSequence;
          })
          .sort((a, b) => a.changed - b.changed);
        const page = found.slice(0, 2);
        const answer = {
          messages: page.map(({ sequence }) => read(id, sequence)),
          nextPageToken: found.length > page.length ? String(page.at(-1)!.changed) : "",
          lastSequence: BigInt(lengths[id]!),
          epoch: server.epoch,
        };
        await server.duringCall("listChangedMessages");
        return answer;
      },
    });
  });
}

/**
 * A server with logs of the given lengths; other devices have received `delivered` entries of each.
 */
export function setUp(
  lengths: Record<string, number>,
  options: Partial<ConversationLogsOptions> & {
    delivered?: number;
    first?: number;
    /** `retry_after_ms` of the next pages of Sync; 0 after them. */
    unreadable?: bigint[];
    /** Fails GetConversation, as a server does that does not have it. */
    withoutLookUp?: boolean;
  } = {},
) {
  const server: FixtureServer = { epoch: 1n, changed: {}, duringCall: () => {} };
  const clock = new ManualClock();
  const store = options.store ?? new MemoryStore();
  const asked: ListEntriesRequest[] = [];
  const askedChanged: ListChangedMessagesRequest[] = [];
  const synced: SyncRequest[] = [];
  const lookedUp: string[] = [];
  const conversationOf = (id: string) => ({
    conversationId: id,
    firstSequence: BigInt(options.first ?? 1),
    lastSequence: BigInt(lengths[id]!),
    lastEntry: entry(id, lengths[id]!),
    deliveredSequence: BigInt(options.delivered ?? 0),
    epoch: server.epoch,
  });
  const transport = createRouterTransport(({ service }) => {
    service(MessageService, {
      sync: (request) => {
        synced.push(request);
        const from = Number(request.cursor || "0");
        const ids = Object.keys(lengths);
        const page = ids.slice(from, from + 2);
        return {
          conversations: page.map(conversationOf),
          nextCursor: String(from + page.length),
          hasMore: from + page.length < ids.length,
          retryAfterMs: options.unreadable?.shift() ?? 0n,
        };
      },
      listEntries: (request) => {
        asked.push(request);
        const length = lengths[request.conversationId]!;
        const after = Math.max(Number(request.position.value), (options.first ?? 1) - 1);
        const count = Math.max(0, Math.min(request.pageSize, length - after));
        return {
          entries: Array.from({ length: count }, (_, n) =>
            entry(request.conversationId, after + 1 + n),
          ),
          lastSequence: BigInt(length),
          epoch: server.epoch,
        };
      },
    });
    service(ConversationService, {
      getConversation: ({ target }) => {
        lookedUp.push(String(target.value));
        if (options.withoutLookUp) throw new ConnectError("no such method", Code.Unimplemented);
        return { conversation: conversationOf(String(target.value)) };
      },
    });
  });
  const seen: string[] = [];
  const named: string[] = [];
  const arrived = new Map<string, bigint>();
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const one of waiting) one();
  };
  const historyTransport = historyOf(server, lengths, {
    first: options.first,
    asked: askedChanged,
  });
  const ranges = new MessageRanges(store);
  const history: MessageHistory = new MessageHistory({
    ...{ clock, ranges, history: createClient(HistoryService, historyTransport) },
    position: (id) => logs.last(id),
    isOfLog: (...answer) => logs.isOfLog(...answer),
    changed: ({ conversationId, sequence, state }) => {
      seen.push(`${conversationId}/${sequence}@${state?.changedSequence}`);
      wake();
    },
  });
  const logs: ConversationLogs = new ConversationLogs({
    clock,
    messages: {
      ...createClient(MessageService, transport),
      ...createClient(ConversationService, transport),
    },
    store,
    ranges,
    history: "none",
    isOwn: () => false,
    message: (one) => {
      seen.push(`${one.conversationId}/${one.sequence}`);
      wake();
    },
    conversation: ({ conversationId }) => {
      named.push(conversationId);
      wake();
    },
    reset: (id) => seen.push(`${id} reset`),
    arrived: (id, last) => arrived.set(id, last),
    jumped: ({ conversationId, after, to }) => {
      seen.push(`${conversationId} ${after}..${to}`);
      wake();
    },
    makeExact: () => history.makeAllExact(),
    ...options,
  });
  const until = async (count: number, list = seen) => {
    while (list.length < count) {
      await new Promise<void>((resolve) => waiting.add(resolve));
    }
  };
  const made = { clock, store, logs, seen, named, arrived, asked, synced, lookedUp };
  const ofHistory = { ranges, history, askedChanged };
  return { ...made, ...ofHistory, until, lengths, server };
}

export const range = (id: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `${id}/${from + n}`);
