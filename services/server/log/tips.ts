import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentSchema, type TipSchema } from "#gen/lucky/message/v1/content_pb.js";
import { bigints } from "./arrays.ts";
import type { PoolClient } from "./database.ts";
import { bodyOf } from "./entries.ts";

/** Kind of a tip: an entry by the server that reports a change of the conversation. */
export const TIP = ContentSchema.field.tip.number;

export interface TipOptions {
  readonly conversationId: string;
  /** User whose call caused the change. */
  readonly causedBy: string;
  readonly tip: MessageInitShape<typeof TipSchema>;
  /** Change of the member count; negative when members leave. */
  readonly memberChange: number;
  /** Users whose membership changes. */
  readonly memberIds: readonly string[];
  readonly messageId: string;
  readonly outboxId: string;
  readonly nowMs: number;
  readonly nextAttemptAtMs: number;
}

/** A tip that enters the log when the transaction commits. */
export interface WrittenTip {
  readonly outboxId: string;
  readonly conversationId: string;
  readonly sequence: number;
  readonly acceptedAtMs: number;
  readonly body: Buffer;
}

/**
 * Writes a tip to a group's log with its outbox row, and increments the member version, within the
 * caller's transaction. Tips do not count as unread.
 */
export async function writeTip(client: PoolClient, options: TipOptions): Promise<WrittenTip> {
  const { conversationId, causedBy, tip, memberChange, memberIds } = options;
  const { messageId, outboxId, nowMs } = options;
  const ids = {
    conversationId: BigInt(conversationId),
    messageId: BigInt(messageId),
    senderId: BigInt(causedBy),
  };
  const content = create(ContentSchema, { kind: { case: "tip", value: tip } });
  const body = bodyOf(ids, content);
  const { rows } = await client.query<{ last_sequence: string; last_countable: string }>(
    `UPDATE im.conversation
        SET last_sequence = last_sequence + 1, member_version = member_version + 1,
            member_count = member_count + $2, changed_by = pg_current_xact_id()
      WHERE conversation_id = $1
  RETURNING last_sequence, last_countable`,
    [conversationId, memberChange],
  );
  const { last_sequence: sequence, last_countable: countable } = rows[0]!;
  await client.query(
    `INSERT INTO im.entry (conversation_id, sequence, message_id, sender_id, kind, countable,
                           accepted_at_ms, body)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [conversationId, sequence, messageId, causedBy, TIP, countable, nowMs, body],
  );
  await client.query(
    `INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms,
                            next_attempt_at_ms, member_ids)
     VALUES ($1, ARRAY[$2::bigint], ARRAY[$3::bigint - 1], ARRAY[1], $4, $5, $6)`,
    [outboxId, conversationId, sequence, nowMs, options.nextAttemptAtMs, bigints(memberIds)],
  );
  return { outboxId, conversationId, sequence: Number(sequence), acceptedAtMs: nowMs, body };
}
