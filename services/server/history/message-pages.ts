import { create, toBinary } from "@bufbuild/protobuf";
import { type Entry, EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import {
  type ListMessagesRequest,
  type ListMessagesResponse,
  ListMessagesResponseSchema,
} from "#gen/lucky/message/v1/history_pb.js";
import { conversationNotFound } from "../conversations/refusal.ts";
import type { Statement } from "../log/database.ts";
import { entryOf, PAGE_BYTES } from "../log/entries.ts";
import type { Logs } from "../log/logs.ts";
import type { VisibleRow } from "../log/visible.ts";
import {
  MESSAGE_BYTES,
  type PageRow,
  type ScanRange,
  selectMessagesAfter,
  selectMessagesBefore,
  selectSequenceAt,
} from "./message-rows.ts";

const DEFAULT_PAGE_SIZE = 50;
/** Entries that one scan reads in addition to the size of the page. */
const SCAN_ENTRIES = 200;
/** Maximum scans of one call and direction: a page is short where the log has more changes. */
const MAX_SCANS = 4;

/** Messages of a part of the log, from `low` to `high`, both inclusive, without a gap. */
interface Part {
  /** As of the first scan: later changes may be missing in the messages that it read. */
  readonly visible: VisibleRow;
  /** In ascending order of sequence. */
  readonly messages: Entry[];
  readonly low: bigint;
  readonly high: bigint;
}

/** One user's view of a conversation. */
interface View {
  readonly logs: Logs;
  readonly conversationId: string;
  readonly userId: string;
}

/** Reads one page of messages. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
export async function listMessages(
  logs: Logs,
  { userId, request }: { userId: string; request: ListMessagesRequest },
): Promise<ListMessagesResponse> {
  const view = { logs, conversationId: request.conversationId, userId };
  const size = request.pageSize || DEFAULT_PAGE_SIZE;
  const { case: name, value = 0n } = request.position;
  switch (name) {
    case "afterSequence":
      return response(await readAfter(view, value, { size, bytes: PAGE_BYTES }));
    case "aroundSequence":
      return response(await readAround(view, value, size));
    case "atMs":
      return response(await readAround(view, await sequenceAt(view, value), size));
    default:
      return response(await readBefore(view, value, { size, bytes: PAGE_BYTES }));
  }
}

function response({ visible, messages, low, high }: Part): ListMessagesResponse {
  const lastSequence = BigInt(visible.last_sequence);
  return create(ListMessagesResponseSchema, {
    messages,
    olderBeforeSequence: low > BigInt(visible.first_sequence) ? low : 0n,
    newerAfterSequence: high,
    hasNewer: high < lastSequence,
    lastSequence,
    epoch: BigInt(visible.epoch),
  });
}

interface Room {
  readonly size: number;
  readonly bytes: number;
}

/** The messages before a sequence, nearest to it. */
async function readBefore(view: View, before: bigint, room: Room): Promise<Part> {
  const messages: Entry[] = [];
  let visible: ScanRange | undefined;
  for (let low = before, scans = 1; ; scans++) {
    const { range, found, isFull } = await scan(view, selectMessagesBefore, low, room, messages);
    visible ??= range;
    messages.unshift(...found);
    const first = BigInt(range.first_sequence);
    if (isFull) low = messages[0]!.sequence;
    else low = range.reached === null ? first : BigInt(range.reached);
    if (isFull || low <= first || scans === MAX_SCANS || isPageFull(room, messages)) {
      const high = least(before - 1n, BigInt(visible.last_sequence));
      return { visible, messages, low: greatest(low, first), high };
    }
  }
}

/** The messages after a sequence, nearest to it. */
async function readAfter(view: View, after: bigint, room: Room): Promise<Part> {
  const messages: Entry[] = [];
  let visible: ScanRange | undefined;
  for (let high = after, scans = 1; ; scans++) {
    const { range, found, isFull } = await scan(view, selectMessagesAfter, high, room, messages);
    visible ??= range;
    messages.push(...found);
    const last = BigInt(range.last_sequence);
    if (isFull) high = messages.at(-1)!.sequence;
    else high = range.reached === null ? greatest(high, last) : BigInt(range.reached);
    if (isFull || high >= last || scans === MAX_SCANS || isPageFull(room, messages)) {
      const low = greatest(after + 1n, BigInt(range.first_sequence));
      return { visible, messages, low, high: least(high, last) };
    }
  }
}

/** The messages around a sequence: half of the page before it, the rest from it on. */
async function readAround(view: View, sequence: bigint, size: number): Promise<Part> {
  const before = await readBefore(view, sequence, {
    size: Math.floor(size / 2),
    bytes: PAGE_BYTES / 2,
  });
  const bytes = PAGE_BYTES - bytesOf(before.messages);
  const after = await readAfter(view, sequence - 1n, {
    size: size - before.messages.length,
    bytes,
  });
  const messages = [...before.messages, ...after.messages];
  return { ...before, messages, high: after.high };
}

/** Runs one scan from a position, for what is left of the page. Throws CONVERSATION_NOT_FOUND. */
async function scan(
  { logs, conversationId, userId }: View,
  statement: Statement,
  from: bigint,
  room: Room,
  messages: readonly Entry[],
): Promise<{ range: ScanRange; found: Entry[]; isFull: boolean }> {
  const size = room.size - messages.length;
  const values = [
    conversationId,
    userId,
    String(from),
    size + SCAN_ENTRIES,
    size,
    room.bytes - bytesOf(messages),
  ];
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<PageRow<ScanRange>>(statement, values),
  );
  const [range] = rows;
  if (range === undefined) throw conversationNotFound();
  const found = rows.filter((row) => row.sequence !== null).map(entryOf);
  return { range, found, isFull: found.length < range.found };
}

const isPageFull = (room: Room, messages: readonly Entry[]) =>
  messages.length >= room.size || bytesOf(messages) >= room.bytes;

/** Bytes of messages, as the statements count them. */
function bytesOf(messages: readonly Entry[]): number {
  let bytes = 0;
  for (const message of messages) bytes += toBinary(EntrySchema, message).length + MESSAGE_BYTES;
  return bytes;
}

/** The first visible sequence that was accepted at a time or later; one after the last for none. */
async function sequenceAt({ logs, conversationId, userId }: View, atMs: bigint): Promise<bigint> {
  const [row] = await logs.onConversation(conversationId, (db) =>
    db.run<{ sequence: string }>(selectSequenceAt, [conversationId, userId, String(atMs)]),
  );
  if (row === undefined) throw conversationNotFound();
  return BigInt(row.sequence);
}

const least = (a: bigint, b: bigint) => (a < b ? a : b);
const greatest = (a: bigint, b: bigint) => (a > b ? a : b);
