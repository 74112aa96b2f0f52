import type { DeleteForMeRequest } from "#gen/lucky/message/v1/change_pb.js";
import { conversationNotFound } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import { COUNTABLE_KINDS, FIRST_CHANGE, kindNumber } from "../log/kinds.ts";
import type { Logs } from "../log/logs.ts";

/** Tips stay: devices read from them who is a member. */
const TIP = kindNumber("tip");

/**
 * Hides the messages $3 of the conversation $1 from the user $2, as far as the user may see them.
 * It writes no entry, so that nobody else notices, and locks only the row of the member. When it hides
 * something, that row counts as changed: Sync tells the user's devices. No row: no such member.
 */
export const hideEntries: Statement = {
  name: "im_hide_entries",
  route: { kind: "conversations", ids: 1 },
  text: `
    WITH me AS MATERIALIZED (
      SELECT m.first_sequence,
             CASE WHEN m.left_sequence > 0 THEN m.left_sequence ELSE 9223372036854775807 END AS last_sequence
        FROM im.member m
       WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint AND im.owns(ARRAY[$1::bigint])
         FOR NO KEY UPDATE
    ), hidden AS (
      INSERT INTO im.hidden (conversation_id, user_id, sequence, counted)
      SELECT $1::bigint, $2::bigint, e.sequence,
             e.kind IN (${COUNTABLE_KINDS}) AND e.sender_id <> $2::bigint
        FROM me CROSS JOIN unnest($3::bigint[]) AS i(sequence)
       CROSS JOIN LATERAL (
         SELECT * FROM im.entry e
          WHERE e.conversation_id = $1::bigint AND e.sequence = i.sequence OFFSET 0) e
       WHERE e.sequence BETWEEN me.first_sequence AND me.last_sequence AND e.kind < ${FIRST_CHANGE}
         AND e.kind <> ${TIP}
      ON CONFLICT DO NOTHING
      RETURNING 1
    ), touched AS (
      UPDATE im.member m SET changed_by = pg_current_xact_id()
       WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint AND EXISTS (SELECT FROM hidden)
    )
    SELECT 1 AS member FROM me`,
};

/** Deletes messages for the caller alone. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
export async function deleteForMe(
  logs: Logs,
  { conversationId, sequences }: DeleteForMeRequest,
  userId: string,
): Promise<void> {
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run(hideEntries, [conversationId, userId, bigints(sequences)]),
  );
  if (rows.length === 0) throw conversationNotFound();
}
