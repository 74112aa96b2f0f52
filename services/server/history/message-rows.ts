import type { Statement } from "../log/database.ts";
import type { EntryRow } from "../log/entries.ts";
import { FIRST_CHANGE, kindNumber } from "../log/kinds.ts";
import { stateColumns, stateTables } from "../log/states.ts";
import { VISIBLE, type VisibleRow } from "../log/visible.ts";

const TIP = kindNumber("tip");

/** A row of a page. An empty page has one row, whose `sequence` is null. */
export type PageRow<Range extends VisibleRow = VisibleRow> = Range &
  (EntryRow | { readonly sequence: null });

/** The part of the log that one scan read. */
export interface ScanRange extends VisibleRow {
  /** Number of entries that the scan read. */
  readonly scanned: number;
  /** Sequence of the last entry read: the lowest of a backward scan, the highest of a forward one. */
  readonly reached: string | null;
  /** Number of messages and tips found. When the scan returned fewer, the page is full. */
  readonly found: number;
}

/** Estimated size of a message in a page, in addition to its body, bytes. */
export const MESSAGE_BYTES = 32;

const ofConversation = { kind: "conversations", ids: 1 } as const;

/**
 * SQL of one scan of the log of the conversation $1 for the user $2, from the sequence $3 (exclusive). Reads at
 * most $4 entries. Returns at most $5 messages and tips that the user did not delete, and at most $6 bytes, but
 * always the first one. A backward scan that starts among changes skips them in one step.
 */
const scan = (direction: "ASC" | "DESC") => {
  const backward = direction === "DESC";
  const start = backward
    ? `coalesce((SELECT g.shown_sequence + 1 FROM im.change g
                  WHERE g.conversation_id = $1::bigint
                    AND g.sequence = least($3::bigint, v.last_sequence + 1) - 1),
                least($3::bigint, v.last_sequence + 1))`
    : "greatest($3::bigint, v.first_sequence - 1)";
  return `
  WITH ${VISIBLE}, start AS MATERIALIZED (
    SELECT v.*, ${start} AS began FROM visible v
  ), scanned AS MATERIALIZED (
    SELECT n.* FROM start
     CROSS JOIN LATERAL (
       SELECT e.conversation_id, e.sequence, e.kind, e.accepted_at_ms, e.body FROM im.entry e
        WHERE e.conversation_id = $1::bigint
          AND ${backward ? "e.sequence < start.began AND e.sequence >= start.first_sequence" : "e.sequence > start.began AND e.sequence <= start.last_sequence"}
        ORDER BY e.sequence ${direction} LIMIT $4::int) n
  ), shown AS MATERIALIZED (
    SELECT n.*, sum(octet_length(n.body) + ${MESSAGE_BYTES}) OVER (ORDER BY n.sequence ${direction}) AS bytes,
           row_number() OVER (ORDER BY n.sequence ${direction}) AS nr
      FROM (SELECT e.* FROM scanned e
             WHERE e.kind < ${FIRST_CHANGE}
               AND (SELECT true FROM im.hidden d WHERE d.conversation_id = $1::bigint
                       AND d.user_id = $2::bigint AND d.sequence = e.sequence) IS NULL
             ORDER BY e.sequence ${direction} LIMIT $5::int + 1) n
  )
  SELECT start.first_sequence, start.last_sequence, start.epoch,
         (SELECT count(*)::int FROM scanned) AS scanned, (SELECT count(*)::int FROM shown) AS found,
         (SELECT ${backward ? "min" : "max"}(sequence) FROM scanned) AS reached,
         ${stateColumns("cut", "$2::bigint")}
    FROM start
    LEFT JOIN shown cut ON cut.nr = 1 OR (cut.nr <= $5::int AND cut.bytes <= $6::bigint)
    ${stateTables("cut", "start.left_sequence")}
   ORDER BY cut.sequence`;
};

export const selectMessagesBefore: Statement = {
  name: "im_messages_before",
  route: ofConversation,
  text: scan("DESC"),
};

export const selectMessagesAfter: Statement = {
  name: "im_messages_after",
  route: ofConversation,
  text: scan("ASC"),
};

/**
 * The first entry of the conversation $1, visible to the user $2, that was accepted at $3 or later: its
 * sequence, or last_sequence + 1 when there is none. A binary search, which reads at most 63 entries.
 */
export const selectSequenceAt: Statement = {
  name: "im_sequence_at",
  route: ofConversation,
  text: `
    WITH RECURSIVE ${VISIBLE}, search AS (
      SELECT v.first_sequence AS low, v.last_sequence + 1 AS high FROM visible v
       UNION ALL
      SELECT CASE WHEN e.accepted_at_ms < $3::bigint THEN e.sequence + 1 ELSE s.low END,
             CASE WHEN e.accepted_at_ms < $3::bigint THEN s.high ELSE e.sequence END
        FROM search s
       CROSS JOIN LATERAL (
         SELECT n.sequence, n.accepted_at_ms FROM im.entry n
          WHERE n.conversation_id = $1::bigint AND n.sequence = (s.low + s.high) / 2 OFFSET 0) e
       WHERE s.low < s.high
    )
    SELECT low AS sequence FROM search WHERE low >= high`,
};

/**
 * The messages and tips of the conversation $1 at the sequences $3 that the user $2 may see and did not delete,
 * at most $4 bytes, but always the first one.
 */
export const selectMessagesAt: Statement = {
  name: "im_messages_at",
  route: ofConversation,
  text: `
    WITH ${VISIBLE}, found AS MATERIALIZED (
      SELECT n.*, sum(octet_length(n.body) + ${MESSAGE_BYTES}) OVER (ORDER BY n.sequence) AS bytes,
             row_number() OVER (ORDER BY n.sequence) AS nr
        FROM unnest($3::bigint[]) AS i(sequence)
       CROSS JOIN visible v
       CROSS JOIN LATERAL (
         SELECT e.conversation_id, e.sequence, e.accepted_at_ms, e.body FROM im.entry e
          WHERE e.conversation_id = $1::bigint AND e.sequence = i.sequence
            AND e.kind < ${FIRST_CHANGE} OFFSET 0) n
       WHERE i.sequence BETWEEN v.first_sequence AND v.last_sequence
         AND (SELECT true FROM im.hidden d WHERE d.conversation_id = $1::bigint
                 AND d.user_id = $2::bigint AND d.sequence = i.sequence) IS NULL
    )
    SELECT v.first_sequence, v.last_sequence, v.epoch, (SELECT count(*)::int FROM found) AS found,
           ${stateColumns("cut", "$2::bigint")}
      FROM visible v
      LEFT JOIN found cut ON cut.nr = 1 OR cut.bytes <= $4::bigint
      ${stateTables("cut", "v.left_sequence")}
     ORDER BY cut.sequence`,
};

/** SQL of the entries of `picked`, with the running total of their bytes and their number in `order`. */
const pickedEntries = (order: string) => `
  SELECT n.*, sum(octet_length(n.body) + ${MESSAGE_BYTES}) OVER (ORDER BY ${order}) AS bytes,
         row_number() OVER (ORDER BY ${order}) AS nr
    FROM (SELECT e.conversation_id, e.sequence, e.accepted_at_ms, e.body,
                 p.changed_sequence, p.pinned_sequence
            FROM picked p
           CROSS JOIN LATERAL (
             SELECT x.* FROM im.entry x
              WHERE x.conversation_id = $1::bigint AND x.sequence = p.sequence OFFSET 0) e) n`;

/** A row of selectChangedMessages. */
export type ChangedRow = PageRow & {
  /** changed_sequence of the message. */
  readonly changed_sequence: string | null;
  /** Number of changed messages that the statement read, inside and outside the range. */
  readonly read: number;
  /** Number of those inside the range. When fewer were returned, the page is full. */
  readonly found: number;
  /** Position of the last message read: its changed_sequence and its sequence. */
  readonly last_changed: string | null;
  readonly last_message: string | null;
};

/**
 * Messages of the conversation $1 that the user $2 may see and that were changed after the position ($3, $4) of
 * changed_sequence and sequence, by ascending position. They include messages that changed after the user left:
 * their earlier changes have no position of their own. Reads at most $7 changed messages. Returns those from
 * sequence $5 to $6: at most $9 messages and $8 bytes, but always the first one.
 */
export const selectChangedMessages: Statement = {
  name: "im_changed_messages",
  route: ofConversation,
  text: `
    WITH ${VISIBLE}, read AS MATERIALIZED (
      SELECT n.* FROM visible v
       CROSS JOIN LATERAL (
         SELECT t.sequence, t.changed_sequence, t.pinned_sequence FROM im.message_state t
          WHERE t.conversation_id = $1::bigint
            AND (t.changed_sequence, t.sequence) > ($3::bigint, $4::bigint)
          ORDER BY t.changed_sequence, t.sequence LIMIT $7::int) n
    ), picked AS MATERIALIZED (
      SELECT r.* FROM read r CROSS JOIN visible v
       WHERE r.sequence BETWEEN greatest($5::bigint, v.first_sequence) AND least($6::bigint, v.last_sequence)
       ORDER BY r.changed_sequence, r.sequence LIMIT $9::int + 1
    ), cut AS MATERIALIZED (${pickedEntries("n.changed_sequence, n.sequence")})
    SELECT v.first_sequence, v.last_sequence, v.epoch, (SELECT count(*)::int FROM read) AS read,
           (SELECT count(*)::int FROM picked) AS found,
           (SELECT max(changed_sequence) FROM read) AS last_changed,
           (SELECT sequence FROM read ORDER BY changed_sequence DESC, sequence DESC LIMIT 1) AS last_message,
           cut.changed_sequence, ${stateColumns("cut", "$2::bigint")}
      FROM visible v
      LEFT JOIN cut ON cut.nr = 1 OR (cut.nr <= $9::int AND cut.bytes <= $8::bigint)
      ${stateTables("cut", "v.left_sequence")}
     ORDER BY cut.changed_sequence, cut.sequence`,
};

/** A row of selectPins. */
export type PinRow = PageRow & {
  /** Sequence of the entry that pinned the message. */
  readonly pinned_sequence: string | null;
  /** Number of pins that the statement read. When fewer were returned, another page follows. */
  readonly found: number;
};

/**
 * The pinned messages of the conversation $1 for the user $2, with a pin before the sequence $5, latest pin
 * first: at most $3 messages and $4 bytes, but always the first one.
 */
export const selectPins: Statement = {
  name: "im_pins",
  route: ofConversation,
  text: `
    WITH ${VISIBLE}, picked AS MATERIALIZED (
      SELECT n.* FROM visible v
       CROSS JOIN LATERAL (
         SELECT t.sequence, t.changed_sequence, t.pinned_sequence FROM im.message_state t
          WHERE t.conversation_id = $1::bigint AND t.pinned_sequence > 0
            AND t.pinned_sequence < least($5::bigint, v.last_sequence + 1)
            AND t.sequence BETWEEN v.first_sequence AND v.last_sequence
            AND (SELECT true FROM im.hidden d WHERE d.conversation_id = $1::bigint
                    AND d.user_id = $2::bigint AND d.sequence = t.sequence) IS NULL
          ORDER BY t.pinned_sequence DESC LIMIT $3::int + 1) n
    ), cut AS MATERIALIZED (${pickedEntries("n.pinned_sequence DESC")})
    SELECT v.first_sequence, v.last_sequence, v.epoch, (SELECT count(*)::int FROM picked) AS found,
           cut.pinned_sequence, ${stateColumns("cut", "$2::bigint")}
      FROM visible v
      LEFT JOIN cut ON cut.nr = 1 OR (cut.nr <= $3::int AND cut.bytes <= $4::bigint)
      ${stateTables("cut", "v.left_sequence")}
     ORDER BY cut.pinned_sequence DESC`,
};

/** A row of selectTarget. */
export interface TargetRow extends VisibleRow {
  readonly role: number;
  readonly left_sequence: string;
  /** Author of the message; null: there is no such message, or the user may not see it. */
  readonly sender_id: string | null;
  /** Null: the message was never changed. */
  readonly recalled: boolean | null;
  /** Number of edits. */
  readonly edits: number;
}

/** The message $3 of the conversation $1 as the user $2 may see it, with the user's role. No row: never a member. */
export const selectTarget: Statement = {
  name: "im_message_target",
  route: ofConversation,
  text: `
    WITH ${VISIBLE}
    SELECT v.*, e.sender_id,
           (SELECT t.recalled FROM im.message_state t
             WHERE t.conversation_id = $1::bigint AND t.sequence = $3::bigint) AS recalled,
           coalesce((SELECT t.edits FROM im.message_state t
                      WHERE t.conversation_id = $1::bigint AND t.sequence = $3::bigint), 0) AS edits
      FROM visible v
      LEFT JOIN LATERAL (
        SELECT n.sender_id FROM im.entry n
         WHERE n.conversation_id = $1::bigint AND n.sequence = $3::bigint
           AND n.kind < ${FIRST_CHANGE} AND n.kind <> ${TIP}
           AND n.sequence BETWEEN v.first_sequence AND v.last_sequence
           AND (SELECT true FROM im.hidden d WHERE d.conversation_id = $1::bigint
                   AND d.user_id = $2::bigint AND d.sequence = $3::bigint) IS NULL
        OFFSET 0) e ON true`,
};

/** A row of selectRevisions. */
export interface RevisionRow {
  readonly revision: number;
  readonly at_ms: string;
  readonly body: Buffer;
}

/**
 * The earlier versions of the message $2 of the conversation $1, oldest first: those with a number greater than
 * $4 that were replaced by an edit up to the sequence $3. At most $5 versions and $6 bytes, but always the first.
 */
export const selectRevisions: Statement = {
  name: "im_revisions",
  route: ofConversation,
  text: `
    SELECT n.revision, n.at_ms, n.body FROM (
      SELECT r.revision, r.at_ms, r.body,
             sum(octet_length(r.body)) OVER (ORDER BY r.revision) AS bytes,
             row_number() OVER (ORDER BY r.revision) AS nr
        FROM (SELECT x.revision, x.at_ms, x.body FROM im.revision x
               WHERE x.conversation_id = $1::bigint AND x.sequence = $2::bigint AND x.revision > $4::int
                 AND x.edit_sequence <= $3::bigint AND im.owns(ARRAY[$1::bigint])
               ORDER BY x.revision LIMIT $5::int) r) n
     WHERE n.nr = 1 OR n.bytes <= $6::bigint
     ORDER BY n.revision`,
};

/**
 * SQL of the reactions to the message $2 of the conversation $1, latest first, at most $6, after the position
 * ($3, $4, $5) of changed_sequence, user id and emoji.
 */
const reactions = (condition: string) => `
    SELECT user_id, emoji, changed_sequence FROM im.reaction
     WHERE conversation_id = $1::bigint AND sequence = $2::bigint ${condition}
       AND changed_sequence <= $3::bigint
       AND (changed_sequence < $3::bigint OR (user_id, emoji) > ($4::bigint, $5::text COLLATE "C"))
       AND im.owns(ARRAY[$1::bigint])
     ORDER BY changed_sequence DESC, user_id, emoji LIMIT $6::int`;

export const selectReactions: Statement = {
  name: "im_reactions",
  route: ofConversation,
  text: reactions(""),
};

export const selectReactionsOf: Statement = {
  name: "im_reactions_of",
  route: ofConversation,
  text: reactions("AND emoji = $7::text"),
};
