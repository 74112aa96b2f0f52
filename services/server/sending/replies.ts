import { bucketOf } from "#platform/buckets/bucket.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import { FIRST_CHANGE, kindNumber } from "../log/kinds.ts";
import type { Logs } from "../log/logs.ts";
import type { QueuedSend } from "./queued-send.ts";

/** The replies whose targets are messages that their senders may see. */
export const selectReplyTargets: Statement = {
  name: "im_reply_targets",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT i.nr::int AS nr
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
           WITH ORDINALITY AS i(conversation_id, sender_id, sequence, nr)
     CROSS JOIN LATERAL (
       SELECT p.first_sequence FROM im.member p
        WHERE p.conversation_id = i.conversation_id AND p.user_id = i.sender_id OFFSET 0) m
     CROSS JOIN LATERAL (
       SELECT o.kind FROM im.entry o
        WHERE o.conversation_id = i.conversation_id AND o.sequence = i.sequence OFFSET 0) e
     WHERE im.owns($1::bigint[])
       AND i.sequence >= m.first_sequence
       AND e.kind < ${FIRST_CHANGE} AND e.kind <> ${kindNumber("tip")}
       AND (SELECT true FROM im.message_state s WHERE s.conversation_id = i.conversation_id
                                                  AND s.sequence = i.sequence AND s.recalled) IS NULL
       AND (SELECT true FROM im.hidden h WHERE h.conversation_id = i.conversation_id
                                           AND h.user_id = i.sender_id
                                           AND h.sequence = i.sequence) IS NULL`,
};

/**
 * Looks up the messages that the sends reply to, and sets `reply`. Returns the errors of the
 * conversations that could not be read; their sends stay unchecked. Never rejects.
 */
export async function checkReplies(
  logs: Pick<Logs, "spread">,
  replies: readonly QueuedSend[],
): Promise<ReadonlyMap<string, unknown>> {
  if (replies.length === 0) return new Map();
  const { failures } = await logs.spread(
    replies,
    ({ conversationId }) => bucketOf(conversationId),
    async (db, theirs) => {
      const rows = await db.run<{ nr: number }>(selectReplyTargets, [
        bigints(theirs.map(({ conversationId }) => conversationId)),
        bigints(theirs.map(({ send }) => send.senderId)),
        bigints(theirs.map(({ send }) => send.replyTo!)),
      ]);
      for (const one of theirs) one.reply = "invalid";
      for (const { nr } of rows) theirs[nr - 1]!.reply = "valid";
    },
  );
  return new Map(
    failures.flatMap(({ items, error }) => items.map((one) => [one.conversationId, error])),
  );
}
