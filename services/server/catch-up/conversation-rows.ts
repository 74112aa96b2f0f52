import { create } from "@bufbuild/protobuf";
import {
  type Conversation,
  ConversationKind,
  ConversationSchema,
} from "#gen/lucky/message/v1/conversation_pb.js";
import { BucketState } from "#platform/buckets/placement.ts";
import { type EntryRow, entryOf } from "../log/entries.ts";
import { COUNTABLE_KINDS, FIRST_CHANGE } from "../log/kinds.ts";
import { previewOf } from "../log/preview.ts";
import { stateColumns, stateTables } from "../log/states.ts";

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
  /** Null, and with it the other columns of the entry: there is none to show. */
  readonly entry_kind: number | null;
  readonly unread: string;
  readonly mentions: string;
  readonly mentions_of_all: string;
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

/**
 * Whether the user of `page` deleted the message at a sequence. As a value, not by EXISTS, which may be
 * planned as a join that reads all rows of the conversation.
 */
const isDeleted = (sequence: string) => `
  (SELECT true FROM im.hidden d WHERE d.conversation_id = page.conversation_id
                                  AND d.user_id = page.user_id AND d.sequence = ${sequence})`;

/** Maximum entries that are read to find one that the user has not deleted. */
const MAX_DELETED = 200;

/**
 * Joins each row of `page` with its last message or tip `e` that the user has not deleted, the state of
 * that, the entry `l` at which a former member left, the last entry read `r`, and its bucket `b`.
 * im.change tells the last message or tip when the last entry is a change.
 */
export const ENTRY_TABLES = `
  CROSS JOIN LATERAL (
    SELECT coalesce((SELECT g.shown_sequence FROM im.change g
                      WHERE g.conversation_id = page.conversation_id AND g.sequence = page.last_sequence),
                    page.last_sequence) AS sequence) shown
  LEFT JOIN im.entry e ON e.conversation_id = page.conversation_id
   AND e.sequence >= page.first_sequence
   AND e.sequence = CASE WHEN ${isDeleted("shown.sequence")} IS NULL THEN shown.sequence ELSE
     (SELECT x.sequence FROM im.entry x
       WHERE x.conversation_id = page.conversation_id AND x.sequence < shown.sequence
         AND x.sequence >= shown.sequence - ${MAX_DELETED} AND x.kind < ${FIRST_CHANGE}
         AND ${isDeleted("x.sequence")} IS NULL
       ORDER BY x.sequence DESC LIMIT 1) END
  ${stateTables("e", "page.left_sequence")}
  LEFT JOIN im.entry l ON page.left_sequence > 0 AND l.conversation_id = page.conversation_id
                      AND l.sequence = page.left_sequence
  LEFT JOIN im.entry r ON r.conversation_id = page.conversation_id
                      AND r.sequence = page.from_sequence
  LEFT JOIN im.bucket b ON b.bucket = (page.conversation_id & 1023)::smallint`;

/** Maximum rows of each kind that are counted for one conversation. */
const MAX_COUNTED = 10_000;
const MAX_MENTIONS = 1_000;

/**
 * Rows of `table` in the unread range of `page`, bounded, with `column` equal to `value`. As a range of one value
 * and in this order, PostgreSQL takes the index that begins with the column, also when it believes that most
 * rows have the value.
 */
const unreadRows = (
  table: string,
  columns: string,
  { column, value, most }: { column: string; value: string; most: number },
) => `
  (SELECT ${columns} FROM im.${table} x
    WHERE x.conversation_id = page.conversation_id AND x.${column} BETWEEN ${value} AND ${value}
      AND x.sequence > page.from_sequence AND x.sequence <= page.last_sequence
    ORDER BY x.${column}, x.sequence LIMIT ${most})`;

/** Recalled messages in the unread range of `page`, bounded. */
const WITHDRAWN = `
  (SELECT x.sender_id FROM im.withdrawn x
    WHERE x.conversation_id = page.conversation_id
      AND x.sequence > page.from_sequence AND x.sequence <= page.last_sequence
    ORDER BY x.sequence LIMIT ${MAX_COUNTED})`;

const OWN = { column: "sender_id", value: "page.user_id", most: MAX_COUNTED };
const DELETED = { column: "user_id", value: "page.user_id", most: MAX_COUNTED };

/** Countable entries after the read cursor: the difference of two running numbers. */
const COUNTED = `(CASE WHEN page.left_sequence > 0 THEN l.countable ELSE page.last_countable END
  - coalesce(r.countable, 0))`;

/** Unread mentions of a user; 0: of all members. Those of messages that the user deleted do not count. */
const mentions = (value: string) => `
  (SELECT count(*) FROM ${unreadRows("mention", "x.sequence, x.sender_id", { column: "user_id", value, most: MAX_MENTIONS })} x
    WHERE x.sender_id <> page.user_id AND ${isDeleted("x.sequence")} IS NULL)`;

/**
 * Columns of `page` and ENTRY_TABLES. Unread is the number of countable entries after the read cursor minus
 * the caller's own, the recalled ones and those that the caller deleted. The rows that are counted one by
 * one are bounded, and none are read when nothing is unread.
 */
export const CONVERSATION_COLUMNS = `page.*, e.kind AS entry_kind,
  ${stateColumns("e", "page.user_id")},
  b.epoch, b.state = ${BucketState.MOVING} AS moving,
  CASE WHEN ${COUNTED} = 0 THEN 0 ELSE ${COUNTED}
    - (SELECT count(*) FROM ${unreadRows("entry", "x.kind", OWN)} x
        WHERE x.kind IN (${COUNTABLE_KINDS}))
    - (SELECT count(*) FROM ${WITHDRAWN} x WHERE x.sender_id <> page.user_id)
    - (SELECT count(*) FROM ${unreadRows("hidden", "x.sequence, x.counted", DELETED)} x
        WHERE x.counted
          AND (SELECT true FROM im.withdrawn w WHERE w.conversation_id = page.conversation_id
                                                 AND w.sequence = x.sequence) IS NULL)
  END AS unread,
  CASE WHEN ${COUNTED} = 0 THEN 0 ELSE ${mentions("page.user_id")} END AS mentions,
  CASE WHEN ${COUNTED} = 0 THEN 0 ELSE ${mentions("0")} END AS mentions_of_all`;

/** The row as a Conversation of the contract. */
export function conversationOf(row: ConversationRow): Conversation {
  const lastEntry = row.entry_kind === null ? undefined : entryOf(row);
  return create(ConversationSchema, {
    conversationId: row.conversation_id,
    kind: row.kind,
    peerUserId: row.peer_id ?? "0",
    name: row.name,
    firstSequence: BigInt(row.first_sequence),
    lastSequence: BigInt(row.last_sequence),
    lastEntry,
    preview: lastEntry && previewOf(lastEntry),
    unreadCount: BigInt(row.unread),
    unreadMentions: Number(row.mentions),
    unreadMentionsOfAll: Number(row.mentions_of_all),
    deliveredSequence: BigInt(row.delivered_sequence),
    readSequence: BigInt(row.read_sequence),
    member: row.left_sequence === "0",
    peerDeliveredSequence: BigInt(row.peer_delivered_sequence ?? 0),
    peerReadSequence: BigInt(row.peer_read_sequence ?? 0),
    epoch: BigInt(row.epoch),
  });
}
