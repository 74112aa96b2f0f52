import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { refusal } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { isSameSend } from "../log/entries.ts";
import type { Outcome } from "./outcome.ts";
import type { Send } from "./send.ts";

/** A send with the id of its conversation. */
export interface AddressedSend {
  readonly send: Send;
  readonly conversationId: string;
}

interface StoredSendRow {
  nr: number;
  conversation_id: string;
  sequence: string;
  message_id: string;
  accepted_at_ms: string;
  body: Buffer;
}

export const selectDuplicates: Statement = {
  name: "im_duplicates",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT i.nr::int AS nr, e.conversation_id, e.sequence, e.message_id, e.accepted_at_ms, e.body
      FROM unnest($1::bigint[], $2::bigint[], $3::text[])
           WITH ORDINALITY AS i(conversation_id, sender_id, client_message_id, nr)
      JOIN im.entry e ON e.conversation_id = i.conversation_id AND e.sender_id = i.sender_id
                     AND e.client_message_id = i.client_message_id`,
};

/**
 * Finds duplicates: sends whose (conversation, sender, client_message_id) is in the log. The
 * outcome is the first result when the content is equal, else KEY_REUSED. Throws
 * UNAVAILABLE.
 */
export async function findDuplicates<S extends AddressedSend>(
  db: Database,
  sends: readonly S[],
): Promise<Map<S, Outcome>> {
  const outcomes = new Map<S, Outcome>();
  if (sends.length === 0) return outcomes;
  const rows = await db.run<StoredSendRow>(selectDuplicates, [
    bigints(sends.map(({ conversationId }) => conversationId)),
    bigints(sends.map(({ send }) => send.senderId)),
    // Keys consist of letters, digits, dot, underscore and hyphen: no character needs escaping.
    `{${sends.map(({ send }) => `"${send.clientMessageId}"`).join(",")}}`,
  ]);
  for (const row of rows) {
    const duplicate = sends[row.nr - 1]!;
    const accepted: Outcome = {
      kind: "accepted",
      conversationId: BigInt(row.conversation_id),
      sequence: Number(row.sequence),
      acceptedAtMs: Number(row.accepted_at_ms),
      messageId: BigInt(row.message_id),
    };
    outcomes.set(duplicate, isSameSend(row.body, duplicate.send.fields) ? accepted : KEY_REUSED);
  }
  return outcomes;
}

/** The client_message_id was already used for other content. */
const KEY_REUSED: Outcome = {
  kind: "refused",
  refusal: refusal(
    ErrorReason.KEY_REUSED,
    "the client_message_id was used in this conversation with other content",
  ),
};

/** Identifies a send for deduplication within a batch. */
export function deduplicationKey({ conversationId, send }: AddressedSend): string {
  return `${conversationId} ${send.senderId} ${send.clientMessageId}`;
}
