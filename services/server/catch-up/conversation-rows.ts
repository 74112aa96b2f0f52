import { create } from "@bufbuild/protobuf";
import {
  type Conversation,
  ConversationKind,
  ConversationSchema,
} from "#gen/lucky/message/v1/conversation_pb.js";
import { BucketState } from "#platform/buckets/placement.ts";
import { type EntryRow, entryOf } from "../log/entries.ts";
import { COUNTABLE_KINDS } from "../log/kinds.ts";

/** A conversation as one user sees it, with its last visible entry. */
export interface ConversationRow extends EntryRow {
  readonly conversation_id: string;
  readonly kind: number;
  readonly name: string;
  readonly peer_id: string | null;
  readonly first_sequence: string;
  readonly left_sequence: string;
  readonly last_sequence: string;
  readonly delivered_sequence: string;
  readonly read_sequence: string;
  readonly peer_delivered_sequence: string | null;
  readonly peer_read_sequence: string | null;
  readonly unread: string;
  readonly epoch: string;
  /** Whether the bucket is moving from this database. */
  readonly moving: boolean;
}

const DIRECT = ConversationKind.DIRECT;

/** Memberships `m`, their conversations `c`, and the other users `p` of direct conversations. */
export const MEMBER_TABLES = `im.member m
  JOIN im.conversation c ON c.conversation_id = m.conversation_id
  LEFT JOIN im.member p ON m.kind = ${DIRECT} AND p.conversation_id = m.conversation_id
                       AND p.user_id <> m.user_id`;

/** Columns of MEMBER_TABLES, for the rows of `page` in ENTRY_TABLES. */
export const MEMBER_COLUMNS = `m.conversation_id, m.user_id, m.kind, c.name,
  m.first_sequence, m.left_sequence,
  CASE WHEN m.left_sequence > 0 THEN m.left_sequence ELSE c.last_sequence END AS last_sequence,
  c.last_countable, m.delivered_sequence, m.read_sequence,
  greatest(m.read_sequence, m.first_sequence - 1) AS from_sequence,
  p.user_id AS peer_id, p.delivered_sequence AS peer_delivered_sequence,
  p.read_sequence AS peer_read_sequence`;

/** Joins each row of `page` with its last entry `e`, the last entry read `r`, and its bucket `b`. */
export const ENTRY_TABLES = `
  LEFT JOIN im.entry e ON e.conversation_id = page.conversation_id
                      AND e.sequence = page.last_sequence
  LEFT JOIN im.entry r ON r.conversation_id = page.conversation_id
                      AND r.sequence = page.from_sequence
  LEFT JOIN im.bucket b ON b.bucket = (page.conversation_id & 1023)::smallint`;

/**
 * Columns of `page` and ENTRY_TABLES. Unread is the difference of two running counts of countable
 * entries, at the last visible sequence and at the read cursor, minus the caller's own entries in
 * between.
 */
export const CONVERSATION_COLUMNS = `page.*, e.sequence, e.accepted_at_ms, e.body,
  b.epoch, b.state = ${BucketState.MOVING} AS moving,
  CASE WHEN page.left_sequence > 0 THEN e.countable ELSE page.last_countable END
  - coalesce(r.countable, 0)
  - (SELECT count(*) FROM im.entry o
      WHERE o.conversation_id = page.conversation_id AND o.sender_id = page.user_id
        AND o.sequence > page.from_sequence AND o.sequence <= page.last_sequence
        AND o.kind IN (${COUNTABLE_KINDS})) AS unread`;

/** The row as a Conversation of the contract. */
export function conversationOf(row: ConversationRow): Conversation {
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
    epoch: BigInt(row.epoch),
  });
}
