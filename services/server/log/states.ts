/**
 * SQL that joins the entries `alias` with their states; it follows the tables of a FROM clause. The table is
 * sparse, and read by its key (OFFSET keeps it from being joined otherwise): most entries have no row.
 * `left` is the last sequence that a former member may see, 0 for a member: a former member gets a message
 * that was changed later as it was before, but a recalled one is gone for everybody.
 */
export const stateTables = (alias: string, left: string) => `
  LEFT JOIN LATERAL (
    SELECT t.conversation_id, t.sequence, t.recalled,
           CASE WHEN NOT later.is THEN t.state END AS state,
           ${left} > 0 AND t.changed_sequence > ${left} AS is_later,
           CASE WHEN later.is THEN
             (SELECT old.body FROM im.revision old
               WHERE old.conversation_id = t.conversation_id AND old.sequence = t.sequence
                 AND old.edit_sequence > ${left}
               ORDER BY old.revision LIMIT 1)
           END AS earlier
      FROM im.message_state t
     CROSS JOIN LATERAL (
       SELECT ${left} > 0 AND t.changed_sequence > ${left} AND NOT t.recalled AS is) later
     WHERE t.conversation_id = ${alias}.conversation_id AND t.sequence = ${alias}.sequence OFFSET 0
  ) s ON true`;

/**
 * Columns of EntryRow for the entries `alias` with `stateTables`, as one user sees them. The range of one user
 * makes PostgreSQL take the primary key, also when it believes that a message has one reaction.
 */
export const stateColumns = (alias: string, userId: string) => `
  ${alias}.sequence, ${alias}.accepted_at_ms, coalesce(s.earlier, ${alias}.body) AS body, s.state, s.is_later,
  (SELECT true FROM im.hidden h WHERE h.conversation_id = ${alias}.conversation_id
                                  AND h.user_id = ${userId} AND h.sequence = ${alias}.sequence) AS deleted,
  CASE WHEN s.state IS NOT NULL THEN
    ARRAY(SELECT w.emoji FROM im.reaction w
           WHERE w.conversation_id = s.conversation_id AND w.sequence = s.sequence
             AND w.user_id BETWEEN ${userId} AND ${userId} ORDER BY w.emoji)
  END AS my_reactions`;

/** State of an entry, as one user sees it. An absent column means: not changed. */
export interface StateRow {
  /** Encoded lucky.message.v1.MessageState without the fields of one user; null: not changed. */
  readonly state?: Uint8Array | null;
  /** Whether it is of a time after the user left; null: not changed. */
  readonly is_later?: boolean | null;
  /** Reactions of the user; null: the message was not changed. */
  readonly my_reactions?: readonly string[] | null;
  /** Whether the user deleted it for themselves; null: no. */
  readonly deleted?: boolean | null;
}
