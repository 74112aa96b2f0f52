import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Conversation,
  ConversationKind,
  ConversationSchema,
  type SyncResponse,
  SyncResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { parseId } from "#platform/ids.ts";
import type { Database, Statement } from "../log/database.ts";
import { type EntryRow, entryOf } from "../log/entries.ts";
import { TIP } from "../log/tips.ts";
import { PAGE_BYTES } from "./history.ts";

interface ChangedConversationRow extends EntryRow {
  conversation_id: string;
  kind: number;
  name: string;
  peer_id: string | null;
  first_sequence: string;
  left_sequence: string;
  last_sequence: string;
  delivered_sequence: string;
  read_sequence: string;
  peer_delivered_sequence: string | null;
  peer_read_sequence: string | null;
  changed_at_ms: string;
  unread: string;
}

const DIRECT = ConversationKind.DIRECT;

/**
 * The caller's conversations that changed after ($2, $3), oldest change first. A change is a new
 * entry or a moved cursor, of the caller or of the other user of a direct conversation. For a
 * caller who has left a group, the group no longer changes.
 *
 * Unread is the difference of two running counts of countable entries, at the last visible sequence
 * and at the read cursor, minus the caller's own entries in between.
 */
export const selectChanged: Statement = {
  name: "im_sync",
  text: `
    WITH page AS MATERIALIZED (
      SELECT m.conversation_id, m.user_id, m.kind, c.name, m.first_sequence, m.left_sequence,
             CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                  ELSE c.last_sequence END AS last_sequence,
             c.last_countable, m.delivered_sequence, m.read_sequence,
             greatest(m.read_sequence, m.first_sequence - 1) AS from_sequence,
             p.user_id AS peer_id, p.delivered_sequence AS peer_delivered_sequence,
             p.read_sequence AS peer_read_sequence, changed.at_ms AS changed_at_ms
        FROM im.member m
        JOIN im.conversation c ON c.conversation_id = m.conversation_id
        LEFT JOIN im.member p ON m.kind = ${DIRECT} AND p.conversation_id = m.conversation_id
                             AND p.user_id <> m.user_id
       CROSS JOIN LATERAL (
         SELECT CASE WHEN m.left_sequence > 0 THEN m.updated_at_ms
                     ELSE greatest(c.updated_at_ms, m.updated_at_ms, p.updated_at_ms)
                END AS at_ms) changed
       WHERE m.user_id = $1::bigint AND c.last_sequence > 0
         AND (changed.at_ms, m.conversation_id) > ($2::bigint, $3::bigint)
       ORDER BY changed.at_ms, m.conversation_id
       LIMIT $4::int
    )
    SELECT page.*, e.sequence, e.accepted_at_ms, e.body,
           CASE WHEN page.left_sequence > 0 THEN e.countable ELSE page.last_countable END
           - coalesce(r.countable, 0)
           - (SELECT count(*) FROM im.entry o
               WHERE o.conversation_id = page.conversation_id AND o.sender_id = page.user_id
                 AND o.sequence > page.from_sequence AND o.sequence <= page.last_sequence
                 AND o.kind <> ${TIP}) AS unread
      FROM page
      JOIN im.entry e ON e.conversation_id = page.conversation_id
                     AND e.sequence = page.last_sequence
      LEFT JOIN im.entry r ON r.conversation_id = page.conversation_id
                          AND r.sequence = page.from_sequence
     ORDER BY page.changed_at_ms, page.conversation_id`,
};

const DEFAULT_LIMIT = 100;

/** Position of a cursor within a run of pages. */
interface Cursor {
  /** Start of the run, milliseconds since the Unix epoch; 0 for a new run. */
  readonly startedAtMs: number;
  /** Last change of the previous page; the next page starts after it. */
  readonly changedAtMs: number;
  readonly conversationId: string;
}

export interface SyncDependencies {
  readonly db: Database;
  readonly clock: Clock;
  readonly changeOverlapMs: number;
}

/**
 * Reads one page of the user's changed conversations. Within a run of pages the cursor moves
 * strictly forward. The cursor of the last page is `changeOverlapMs` before the start of the run,
 * because a transaction in flight at the start may commit an earlier change. Throws
 * INVALID_ARGUMENT for a malformed cursor, UNAVAILABLE.
 */
export async function syncPage(
  { db, clock, changeOverlapMs }: SyncDependencies,
  { userId, request }: { userId: string; request: { cursor: string; limit: number } },
): Promise<SyncResponse> {
  const nowMs = clock.now();
  const cursor = decode(request.cursor);
  const limit = request.limit || DEFAULT_LIMIT;
  const rows = await db.run<ChangedConversationRow>(selectChanged, [
    userId,
    cursor.changedAtMs,
    cursor.conversationId,
    limit + 1,
  ]);
  const page = rows.slice(0, fit(rows, limit));
  const hasMore = page.length < rows.length;
  const startedAtMs = cursor.startedAtMs || nowMs;
  const last = page.at(-1);
  const nextCursor =
    hasMore && last !== undefined
      ? encode({
          startedAtMs,
          changedAtMs: Number(last.changed_at_ms),
          conversationId: last.conversation_id,
        })
      : `${Math.max(0, startedAtMs - changeOverlapMs)}`;
  return create(SyncResponseSchema, {
    conversations: page.map(conversationOf),
    nextCursor,
    hasMore,
  });
}

/** Number of rows that fit on the page. */
function fit(rows: readonly ChangedConversationRow[], limit: number): number {
  let bytes = 0;
  for (const [index, { body }] of rows.entries()) {
    bytes += body.length;
    if (index === limit || (index > 0 && bytes > PAGE_BYTES)) return index;
  }
  return rows.length;
}

/**
 * Parses a cursor: "<ms>" starts a run, "<start of the run>.<ms>.<conversation id>" continues one.
 */
function decode(text: string): Cursor {
  if (text === "") return { startedAtMs: 0, changedAtMs: -1, conversationId: "0" };
  const match = /^(?:(\d{1,15})|(\d{1,15})\.(\d{1,15})\.(\d{1,19}))$/.exec(text);
  const [, fresh, startedAtMs, changedAtMs, conversationId] = match ?? [];
  if (fresh === undefined && parseId(conversationId ?? "") === undefined)
    throw fail(ErrorReason.INVALID_ARGUMENT, "cursor: not from Sync");
  if (fresh !== undefined) {
    return { startedAtMs: 0, changedAtMs: Number(fresh), conversationId: "0" };
  }
  return {
    startedAtMs: Number(startedAtMs),
    changedAtMs: Number(changedAtMs),
    conversationId: conversationId!,
  };
}

function encode({ startedAtMs, changedAtMs, conversationId }: Cursor): string {
  return `${startedAtMs}.${changedAtMs}.${conversationId}`;
}

function conversationOf(row: ChangedConversationRow): Conversation {
  return create(ConversationSchema, {
    conversationId: row.conversation_id,
    kind: row.kind,
    peerUserId: row.peer_id ?? "0",
    name: row.name,
    firstSequence: BigInt(row.first_sequence),
    lastSequence: BigInt(row.last_sequence),
    lastEntry: entryOf(row),
    unreadCount: BigInt(row.unread),
    deliveredSequence: BigInt(row.delivered_sequence),
    readSequence: BigInt(row.read_sequence),
    member: row.left_sequence === "0",
    peerDeliveredSequence: BigInt(row.peer_delivered_sequence ?? 0),
    peerReadSequence: BigInt(row.peer_read_sequence ?? 0),
  });
}
