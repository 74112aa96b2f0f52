import { create } from "@bufbuild/protobuf";
import {
  type Conversation,
  ConversationKind,
  ConversationSchema,
  type SyncResponse,
  SyncResponseSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { parseId } from "#platform/ids.ts";
import type { Database, Statement } from "../log/database.ts";
import { type EntryRow, entryOf } from "../log/entries.ts";
import { COUNTABLE_KINDS } from "../log/kinds.ts";
import { encodePosition, type Position, parsePosition, START } from "../log/positions.ts";
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
  changed_by: string;
  unread: string;
}

/** One row per conversation; without conversations, one row with null columns. */
type SyncRow = (ChangedConversationRow | { conversation_id: null }) & {
  history: string;
  /** Changes of transactions from here on may be invisible to this read. */
  lowest_running: string;
  /** Whether the cursor continued; otherwise the rows are from the beginning. */
  continued: boolean;
};

const DIRECT = ConversationKind.DIRECT;

/**
 * The caller's conversations that changed after ($3, $4) in the history $2, oldest change first. A
 * change is a new entry or a moved cursor, of the caller or of the other user of a direct
 * conversation. For a caller who has left a group, the group no longer changes. A position of another
 * history, or ahead of this one, selects all conversations.
 *
 * Unread is the difference of two running counts of countable entries, at the last visible sequence
 * and at the read cursor, minus the caller's own entries in between.
 */
export const selectChanged: Statement = {
  name: "im_sync",
  text: `
    WITH log AS MATERIALIZED (
      SELECT now.history, now.lowest_running, now.continued,
             CASE WHEN now.continued THEN $3::xid8 ELSE '0' END AS after_change,
             CASE WHEN now.continued THEN $4::bigint ELSE 0 END AS after_id
        FROM (SELECT h.history, pg_snapshot_xmin(s.snapshot) AS lowest_running,
                     h.history = $2::text AND $3::xid8 <= pg_snapshot_xmax(s.snapshot) AS continued
                FROM (SELECT im.history() AS history) h,
                     (SELECT pg_current_snapshot() AS snapshot) s) now
    ), page AS MATERIALIZED (
      SELECT m.conversation_id, m.user_id, m.kind, c.name, m.first_sequence, m.left_sequence,
             CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                  ELSE c.last_sequence END AS last_sequence,
             c.last_countable, m.delivered_sequence, m.read_sequence,
             greatest(m.read_sequence, m.first_sequence - 1) AS from_sequence,
             p.user_id AS peer_id, p.delivered_sequence AS peer_delivered_sequence,
             p.read_sequence AS peer_read_sequence, changed.by AS changed_by
        FROM log
       CROSS JOIN im.member m
        JOIN im.conversation c ON c.conversation_id = m.conversation_id
        LEFT JOIN im.member p ON m.kind = ${DIRECT} AND p.conversation_id = m.conversation_id
                             AND p.user_id <> m.user_id
       CROSS JOIN LATERAL (
         SELECT CASE WHEN m.left_sequence > 0 THEN m.changed_by
                     ELSE greatest(c.changed_by, m.changed_by, p.changed_by)
                END AS by) changed
       WHERE m.user_id = $1::bigint AND c.last_sequence > 0
         AND (changed.by, m.conversation_id) > (log.after_change, log.after_id)
       ORDER BY changed.by, m.conversation_id
       LIMIT $5::int
    )
    SELECT log.history, log.lowest_running, log.continued, page.*, e.sequence, e.accepted_at_ms, e.body,
           CASE WHEN page.left_sequence > 0 THEN e.countable ELSE page.last_countable END
           - coalesce(r.countable, 0)
           - (SELECT count(*) FROM im.entry o
               WHERE o.conversation_id = page.conversation_id AND o.sender_id = page.user_id
                 AND o.sequence > page.from_sequence AND o.sequence <= page.last_sequence
                 AND o.kind IN (${COUNTABLE_KINDS})) AS unread
      FROM log
      LEFT JOIN page ON true
      LEFT JOIN im.entry e ON e.conversation_id = page.conversation_id
                          AND e.sequence = page.last_sequence
      LEFT JOIN im.entry r ON r.conversation_id = page.conversation_id
                          AND r.sequence = page.from_sequence
     ORDER BY page.changed_by, page.conversation_id`,
};

const DEFAULT_LIMIT = 100;

/** A cursor: a position, and within a run of pages the last conversation and the end of the run. */
interface Cursor extends Position {
  /** Last conversation of the previous page; "0" at the start of a run. */
  readonly conversationId: string;
  /** Position for the run after this one; undefined at the start of a run. */
  readonly next: string | undefined;
}

/**
 * Reads one page of the user's changed conversations. Within a run of pages the cursor moves
 * strictly forward. The cursor of the last page is the lowest transaction that was running at the
 * start of the run: a transaction in flight may commit an earlier change, and the change of one that
 * had ended was visible. A cursor that is not from this history of the log starts from the beginning.
 * Throws UNAVAILABLE.
 */
export async function syncPage(
  db: Database,
  { userId, request }: { userId: string; request: { cursor: string; limit: number } },
): Promise<SyncResponse> {
  const cursor = decode(request.cursor);
  const limit = request.limit || DEFAULT_LIMIT;
  const read = await db.run<SyncRow>(selectChanged, [
    userId,
    cursor.history,
    cursor.change,
    cursor.conversationId,
    limit + 1,
  ]);
  const { history, lowest_running: lowestRunning, continued } = read[0]!;
  const rows = read.filter((row) => row.conversation_id !== null);
  const page = rows.slice(0, fit(rows, limit));
  const hasMore = page.length < rows.length;
  const next = (continued ? cursor.next : undefined) ?? lowestRunning;
  const last = page.at(-1);
  const nextCursor =
    hasMore && last !== undefined
      ? encode({ history, change: last.changed_by, conversationId: last.conversation_id, next })
      : encodePosition({ history, change: next });
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
 * Parses a cursor: a position starts a run, "<position>/<conversation id>/<next change>" continues
 * one. Other text is the start of the log: a device keeps its cursor over restores and upgrades.
 */
function decode(text: string): Cursor {
  const [position = "", conversationId = "0", next] = text.split("/");
  const parsed = parsePosition(position);
  const isValid =
    parsed !== undefined &&
    (text === position ||
      (parseId(conversationId) !== undefined &&
        parsePosition(`${parsed.history}.${next}`) !== undefined));
  return isValid
    ? { ...parsed, conversationId, next }
    : { ...START, conversationId: "0", next: undefined };
}

function encode({ conversationId, next, ...position }: Cursor): string {
  return `${encodePosition(position)}/${conversationId}/${next}`;
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
