/**
 * SQL for what has become of the entries `alias`. It follows the tables of a FROM clause. A sparse table
 * that is read by its key (OFFSET keeps it from being joined otherwise): most entries have no row.
 */
export const stateTables = (alias: string) => `
  LEFT JOIN LATERAL (
    SELECT t.conversation_id, t.sequence, t.state FROM im.message_state t
     WHERE t.conversation_id = ${alias}.conversation_id AND t.sequence = ${alias}.sequence OFFSET 0
  ) s ON true`;

/** Columns of StateRow, for the entries `alias` with `stateTables`, as one user sees them. */
export const stateColumns = (alias: string, userId: string) => `
  s.state,
  (SELECT true FROM im.hidden h WHERE h.conversation_id = ${alias}.conversation_id
                                  AND h.user_id = ${userId} AND h.sequence = ${alias}.sequence) AS deleted,
  CASE WHEN s.state IS NOT NULL THEN
    ARRAY(SELECT w.emoji FROM im.reaction w
           WHERE w.conversation_id = s.conversation_id AND w.sequence = s.sequence
             AND w.user_id = ${userId} ORDER BY w.emoji)
  END AS my_reactions`;

/** What has become of an entry, as one user sees it. Absent columns: nothing. */
export interface StateRow {
  /** Encoded lucky.message.v1.MessageState without the fields of one user; null: not changed. */
  readonly state?: Uint8Array | null;
  /** Reactions of the user; null: the message was not changed. */
  readonly my_reactions?: readonly string[] | null;
  /** Whether the user deleted it for themselves; null: no. */
  readonly deleted?: boolean | null;
}
