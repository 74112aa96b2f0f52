import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type ListEntriesRequest,
  type ListEntriesResponse,
  ListEntriesResponseSchema,
  type Receipt,
  ReceiptSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { fail } from "#platform/errors.ts";
import { bigints, integers } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { type EntryRow, entryOf, wholeEntry } from "../log/entries.ts";
import { type Logs, throwFirst } from "../log/logs.ts";

/** Maximum size of a page, bytes of entries; a single entry may be larger. */
export const PAGE_BYTES = 1_048_576;
/** Maximum size of an answer to connect, bytes of entries; a single entry may be larger. */
const READ_BYTES = 4_194_304;
/** Estimated bytes of an entry in addition to its body. */
const ENTRY_BYTES = 32;
const DEFAULT_PAGE_SIZE = 100;
const MAX_LIMIT = 500;

export const selectVisible: Statement = {
  name: "im_visible",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT m.first_sequence, m.left_sequence,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence
      FROM im.member m JOIN im.conversation c ON c.conversation_id = m.conversation_id
     WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint
       AND im.owns(ARRAY[$1::bigint])`,
};

/** One direction of a page: the entries nearest to the position, cut at PAGE_BYTES. */
const page = (direction: "ASC" | "DESC") => `
  SELECT sequence, accepted_at_ms, body FROM (
    SELECT n.*, sum(octet_length(body) + ${ENTRY_BYTES}) OVER (ORDER BY sequence ${direction}) AS bytes,
           row_number() OVER (ORDER BY sequence ${direction}) AS nr
      FROM (SELECT sequence, accepted_at_ms, body FROM im.entry
             WHERE conversation_id = $1::bigint AND im.owns(ARRAY[$1::bigint])
               AND sequence >= $2::bigint AND sequence <= $3::bigint
             ORDER BY sequence ${direction} LIMIT $4::int) n
  ) cut
  WHERE nr = 1 OR bytes <= ${PAGE_BYTES}
  ORDER BY sequence`;

const ofConversation = { kind: "conversations", ids: 1 } as const;
export const selectAfter: Statement = {
  name: "im_entries_after",
  route: ofConversation,
  text: page("ASC"),
};
export const selectBefore: Statement = {
  name: "im_entries_before",
  route: ofConversation,
  text: page("DESC"),
};

export const selectEntryRanges: Statement = {
  name: "im_entry_ranges",
  route: { kind: "conversations", ids: 2 },
  text: `
    SELECT nr, sequence, accepted_at_ms, body FROM (
      SELECT i.nr::int AS nr, n.*,
             sum(octet_length(n.body) + ${ENTRY_BYTES}) OVER (ORDER BY i.nr, n.sequence) AS bytes,
             row_number() OVER (ORDER BY i.nr, n.sequence) AS place
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[])
             WITH ORDINALITY AS i(user_id, conversation_id, after, most, nr)
        JOIN im.member m ON m.conversation_id = i.conversation_id AND m.user_id = i.user_id
       CROSS JOIN LATERAL (
         SELECT sequence, accepted_at_ms, body FROM im.entry e
          WHERE e.conversation_id = i.conversation_id
            AND e.sequence > greatest(i.after, m.first_sequence - 1)
            AND e.sequence <= CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                                   ELSE 9223372036854775807 END
          ORDER BY e.sequence LIMIT i.most) n
       WHERE im.owns($2::bigint[])
    ) cut
    WHERE place = 1 OR bytes <= ${READ_BYTES}
    ORDER BY nr, sequence`,
};

export const selectReceipts: Statement = {
  name: "im_receipts",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT user_id, delivered_sequence, read_sequence FROM im.member
     WHERE conversation_id = $1::bigint AND left_sequence = 0 AND im.owns(ARRAY[$1::bigint])
     ORDER BY user_id`,
};

interface VisibleRow {
  first_sequence: string;
  left_sequence: string;
  last_sequence: string;
}

/** A range: the entries of a conversation after a sequence that one user may see. */
export interface ReadRange {
  readonly userId: string;
  readonly conversationId: string;
  readonly afterSequence: bigint;
  readonly limit: number;
}

/** Reads one page of a conversation. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
export async function listEntries(
  logs: Logs,
  { userId, request }: { userId: string; request: ListEntriesRequest },
): Promise<ListEntriesResponse> {
  const { conversationId, position } = request;
  const visible = await readVisible(logs, { userId, conversationId });
  const limit = request.pageSize || DEFAULT_PAGE_SIZE;
  const first = BigInt(visible.first_sequence);
  const last = BigInt(visible.last_sequence);
  const backwards = position.case === "beforeSequence";
  const from = backwards ? first : max(first, (position.value ?? 0n) + 1n);
  const to = backwards ? min(last, position.value - 1n) : last;
  const values = [conversationId, String(from), String(to), limit];
  const statement = backwards ? selectBefore : selectAfter;
  const read = (db: Database) => db.run<EntryRow>(statement, values);
  const rows = from > to ? [] : await logs.onConversation(conversationId, read);
  return create(ListEntriesResponseSchema, { entries: rows.map(entryOf), lastSequence: last });
}

/**
 * Reads encoded entries. Returns one list per range, in the order of the ranges; empty where the
 * user is not a member. Entries beyond 4 MiB are cut, so later ranges may be short or empty. Throws
 * UNAVAILABLE.
 */
export async function readEntries(
  logs: Logs,
  ranges: readonly ReadRange[],
): Promise<Uint8Array[][]> {
  const lists: Uint8Array[][] = ranges.map(() => []);
  const { failures } = await logs.spread(
    [...ranges.keys()],
    (at) => bucketOf(ranges[at]!.conversationId),
    async (db, indexes) => {
      const theirs = indexes.map((at) => ranges[at]!);
      const rows = await db.run<EntryRow & { nr: number }>(selectEntryRanges, [
        bigints(theirs.map(({ userId }) => userId)),
        bigints(theirs.map(({ conversationId }) => conversationId)),
        bigints(theirs.map(({ afterSequence }) => afterSequence)),
        integers(theirs.map(({ limit }) => Math.min(Math.max(limit, 0), MAX_LIMIT))),
      ]);
      for (const row of rows) lists[indexes[row.nr - 1]!]!.push(wholeEntry(row));
    },
  );
  // The ranges of a database that fails are empty; the caller retries them.
  if (lists.every(({ length }) => length === 0)) throwFirst(failures);
  return lists;
}

/**
 * Reads the cursors of a conversation's members. Throws CONVERSATION_NOT_FOUND, also for a caller
 * who has left, and UNAVAILABLE.
 */
export async function listReceipts(
  logs: Logs,
  { userId, conversationId }: { userId: string; conversationId: string },
): Promise<Receipt[]> {
  const { left_sequence: left } = await readVisible(logs, { userId, conversationId });
  if (left !== "0") throw notFound();
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<{
      user_id: string;
      delivered_sequence: string;
      read_sequence: string;
    }>(selectReceipts, [conversationId]),
  );
  return rows.map((row) =>
    create(ReceiptSchema, {
      conversationId,
      userId: row.user_id,
      deliveredSequence: BigInt(row.delivered_sequence),
      readSequence: BigInt(row.read_sequence),
    }),
  );
}

/** Reads the range of sequences that the user may see. */
async function readVisible(
  logs: Logs,
  { userId, conversationId }: { userId: string; conversationId: string },
): Promise<VisibleRow> {
  const [visible] = await logs.onConversation(conversationId, (db) =>
    db.run<VisibleRow>(selectVisible, [conversationId, userId]),
  );
  if (visible === undefined) throw notFound();
  return visible;
}

const notFound = () => fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation");
const max = (a: bigint, b: bigint) => (a > b ? a : b);
const min = (a: bigint, b: bigint) => (a < b ? a : b);
