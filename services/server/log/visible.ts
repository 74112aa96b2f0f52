/**
 * SQL of a common table `visible`: what the user $2 may see of the conversation $1, and the user's role; no
 * row for a user who never was a member. left_sequence is 0 for a current member.
 */
export const VISIBLE = `
  visible AS MATERIALIZED (
    SELECT m.first_sequence, m.left_sequence, m.role,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence, b.epoch
      FROM im.member m
      JOIN im.conversation c ON c.conversation_id = m.conversation_id
      JOIN im.bucket b ON b.bucket = (m.conversation_id & 1023)::smallint
     WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint
       AND im.owns(ARRAY[$1::bigint])
  )`;

/** A row of `visible`. */
export interface VisibleRow {
  readonly first_sequence: string;
  readonly last_sequence: string;
  readonly epoch: string;
}
