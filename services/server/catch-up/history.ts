import { create } from "@bufbuild/protobuf";
import {
  type ListEntriesRequest,
  type ListEntriesResponse,
  ListEntriesResponseSchema,
  type ListReceiptsRequest,
  type ListReceiptsResponse,
  ListReceiptsResponseSchema,
  type Receipt,
  ReceiptSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { idOfPageToken, pageOf, pageTokenOf } from "#platform/rpc/pages.ts";
import { conversationNotFound } from "../conversations/refusal.ts";
import { bigints, integers } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import { type EntryRow, entryOf, PAGE_BYTES, wholeEntry } from "../log/entries.ts";
import { type Logs, throwFirst } from "../log/logs.ts";
import { stateColumns, stateTables } from "../log/states.ts";
import { VISIBLE } from "../log/visible.ts";
import { emptyDeletedEdits } from "./deleted-edits.ts";

/** Maximum size of an answer to connect, bytes of entries; a single entry may be larger. */
const READ_BYTES = 4_194_304;
/** Estimated bytes of an entry in addition to its body. */
const ENTRY_BYTES = 32;
const DEFAULT_PAGE_SIZE = 100;
const MAX_LIMIT = 500;
const DEFAULT_RECEIPTS = 200;
/** Greater than each sequence. */
const MAX_SEQUENCE = 2n ** 63n - 1n;

/**
 * One direction of a page: the entries between two sequences, nearest to the position, cut at
 * PAGE_BYTES. Without entries, one row with null columns; without a membership, no row.
 */
const page = (direction: "ASC" | "DESC") => `
  WITH ${VISIBLE}
  SELECT v.last_sequence, v.epoch, ${stateColumns("cut", "$2::bigint")}
    FROM visible v
    LEFT JOIN LATERAL (
      SELECT n.*, sum(octet_length(body) + ${ENTRY_BYTES}) OVER (ORDER BY sequence ${direction}) AS bytes,
             row_number() OVER (ORDER BY sequence ${direction}) AS nr
        FROM (SELECT conversation_id, sequence, accepted_at_ms, body FROM im.entry
               WHERE conversation_id = $1::bigint
                 AND sequence > greatest($3::bigint, v.first_sequence - 1)
                 AND sequence < least($4::bigint, v.last_sequence + 1)
               ORDER BY sequence ${direction} LIMIT $5::int) n
    ) cut ON cut.nr = 1 OR cut.bytes <= ${PAGE_BYTES}
    ${stateTables("cut", "v.left_sequence")}
   ORDER BY cut.sequence`;

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
    SELECT cut.nr, ${stateColumns("cut", "cut.user_id")} FROM (
      SELECT i.nr::int AS nr, i.user_id, m.left_sequence, n.*,
             sum(octet_length(n.body) + ${ENTRY_BYTES}) OVER (ORDER BY i.nr, n.sequence) AS bytes,
             row_number() OVER (ORDER BY i.nr, n.sequence) AS place
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[])
             WITH ORDINALITY AS i(user_id, conversation_id, after, most, nr)
        JOIN im.member m ON m.conversation_id = i.conversation_id AND m.user_id = i.user_id
       CROSS JOIN LATERAL (
         SELECT conversation_id, sequence, accepted_at_ms, body FROM im.entry e
          WHERE e.conversation_id = i.conversation_id
            AND e.sequence > greatest(i.after, m.first_sequence - 1)
            AND e.sequence <= CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                                   ELSE 9223372036854775807 END
          ORDER BY e.sequence LIMIT i.most) n
       WHERE im.owns($2::bigint[])
    ) cut ${stateTables("cut", "cut.left_sequence")}
    WHERE cut.place = 1 OR cut.bytes <= ${READ_BYTES}
    ORDER BY cut.nr, cut.sequence`,
};

/** A page of the cursors of members: one row with null columns when it is empty, no row for a non-member. */
export const selectReceipts: Statement = {
  name: "im_receipts",
  route: { kind: "conversations", ids: 1 },
  text: `
    WITH own AS MATERIALIZED (
      SELECT 1 FROM im.member
       WHERE conversation_id = $1::bigint AND user_id = $2::bigint AND left_sequence = 0
         AND im.owns(ARRAY[$1::bigint])
    )
    SELECT page.* FROM own LEFT JOIN LATERAL (
      SELECT user_id, delivered_sequence, read_sequence FROM im.member
       WHERE conversation_id = $1::bigint AND user_id > $3::bigint AND left_sequence = 0
       ORDER BY user_id LIMIT $4::int) page ON true
     ORDER BY page.user_id`,
};

/** A row of a page, or of an empty one. */
type PageRow = (EntryRow | { readonly sequence: null }) & {
  readonly last_sequence: string;
  readonly epoch: string;
};

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
  const backwards = position.case === "beforeSequence";
  const [after, before] = backwards ? [0n, position.value] : [position.value ?? 0n, MAX_SEQUENCE];
  const limit = request.pageSize || DEFAULT_PAGE_SIZE;
  const values = [conversationId, userId, String(after), String(before), limit];
  const { first, entries } = await logs.onConversation(conversationId, async (db) => {
    const rows = await db.run<PageRow>(backwards ? selectBefore : selectAfter, values);
    const entries = rows.filter((row) => row.sequence !== null).map(entryOf);
    await emptyDeletedEdits(db, { conversationId, userId }, entries);
    return { first: rows[0], entries };
  });
  if (first === undefined) throw conversationNotFound();
  return create(ListEntriesResponseSchema, {
    entries,
    lastSequence: BigInt(first.last_sequence),
    epoch: BigInt(first.epoch),
  });
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
 * Reads a page of the cursors of a conversation's members, in ascending order of their user ids. Throws
 * CONVERSATION_NOT_FOUND, also for a caller who has left, INVALID_ARGUMENT, UNAVAILABLE.
 */
export async function listReceipts(
  logs: Logs,
  { userId, request }: { userId: string; request: ListReceiptsRequest },
): Promise<ListReceiptsResponse> {
  const { conversationId, pageSize, pageToken } = request;
  const size = pageSize || DEFAULT_RECEIPTS;
  const afterUserId = String(idOfPageToken(pageToken) ?? 0n);
  const found = await logs.onConversation(conversationId, (db) =>
    db.run<ReceiptRow | { user_id: null }>(selectReceipts, [
      conversationId,
      userId,
      afterUserId,
      size + 1,
    ]),
  );
  if (found.length === 0) throw conversationNotFound();
  const rows = found.filter((row) => row.user_id !== null);
  const { page, nextPageToken } = pageOf(rows, size, (last) => pageTokenOf(BigInt(last.user_id)));
  return create(ListReceiptsResponseSchema, {
    receipts: page.map((row) => receiptOf(conversationId, row)),
    nextPageToken,
  });
}

interface ReceiptRow {
  user_id: string;
  delivered_sequence: string;
  read_sequence: string;
}

function receiptOf(conversationId: string, row: ReceiptRow): Receipt {
  return create(ReceiptSchema, {
    conversationId,
    userId: row.user_id,
    deliveredSequence: BigInt(row.delivered_sequence),
    readSequence: BigInt(row.read_sequence),
  });
}
