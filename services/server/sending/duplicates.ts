import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { refusal } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { isSameSend } from "../log/entries.ts";
import { kindNumber } from "../log/kinds.ts";
import type { Outcome } from "./outcome.ts";
import type { Forwarded, Send } from "./send.ts";

/** A send with the id of its conversation. */
export interface AddressedSend {
  readonly send: Send;
  readonly conversationId: string;
}

/** The key of a send in the log. */
export interface SendKey {
  readonly conversationId: string;
  readonly send: Pick<Send, "senderId" | "clientMessageId">;
}

interface StoredSendRow {
  nr: number;
  conversation_id: string;
  sequence: string;
  message_id: string;
  accepted_at_ms: string;
  kind: number;
  body: Buffer;
  /** Null: the message was never changed. */
  recalled: boolean | null;
  /** Body of the message before its first edit; null: never edited. */
  first_body: Buffer | null;
}

const duplicates = (condition: string) => `
  SELECT i.nr::int AS nr, e.conversation_id, e.sequence, e.message_id, e.accepted_at_ms, e.kind, e.body,
         s.recalled, v.body AS first_body
    FROM unnest($1::bigint[], $2::bigint[], $3::text[])
         WITH ORDINALITY AS i(conversation_id, sender_id, client_message_id, nr)
    JOIN im.entry e ON e.conversation_id = i.conversation_id AND e.sender_id = i.sender_id
                   AND e.client_message_id = i.client_message_id
    LEFT JOIN LATERAL (
      SELECT t.recalled FROM im.message_state t
       WHERE t.conversation_id = e.conversation_id AND t.sequence = e.sequence OFFSET 0) s ON true
    LEFT JOIN LATERAL (
      SELECT r.body FROM im.revision r
       WHERE r.conversation_id = e.conversation_id AND r.sequence = e.sequence AND r.revision = 0
      OFFSET 0) v ON true
   ${condition}`;

export const selectDuplicates: Statement = {
  name: "im_duplicates",
  route: { kind: "conversations", ids: 1 },
  text: duplicates(""),
};

/** As `selectDuplicates`, for a search that no append follows: it refuses a bucket that has moved. */
export const selectOwnDuplicates: Statement = {
  name: "im_duplicates_own",
  route: { kind: "conversations", ids: 1 },
  text: duplicates("WHERE im.owns($1::bigint[])"),
};

/** A message that the log has under the key of a send. */
export interface StoredSend {
  readonly accepted: Outcome & { readonly kind: "accepted" };
  /** Whether a send with this key is a retry of it, as far as the log can still tell. */
  isRepeatedBy(send: Pick<Send, "fields" | "forwarded">): boolean;
}

/**
 * Finds what the log has under the keys of sends (conversation, sender, client_message_id). Throws
 * UNAVAILABLE.
 */
export async function findStored<S extends SendKey>(
  db: Database,
  sends: readonly S[],
  statement: Statement = selectDuplicates,
): Promise<Map<S, StoredSend>> {
  const found = new Map<S, StoredSend>();
  if (sends.length === 0) return found;
  const rows = await db.run<StoredSendRow>(statement, [
    bigints(sends.map(({ conversationId }) => conversationId)),
    bigints(sends.map(({ send }) => send.senderId)),
    // Keys consist of letters, digits, dot, underscore and hyphen: no character needs escaping.
    `{${sends.map(({ send }) => `"${send.clientMessageId}"`).join(",")}}`,
  ]);
  for (const row of rows) {
    found.set(sends[row.nr - 1]!, {
      accepted: {
        kind: "accepted",
        conversationId: BigInt(row.conversation_id),
        sequence: Number(row.sequence),
        acceptedAtMs: Number(row.accepted_at_ms),
        messageId: BigInt(row.message_id),
      },
      isRepeatedBy: (send) => isRepeated(row, send),
    });
  }
  return found;
}

/**
 * Finds duplicates: sends whose key is in the log. The outcome is the first result when the send is a
 * retry, else KEY_REUSED. Throws UNAVAILABLE.
 */
export async function findDuplicates<S extends AddressedSend>(
  db: Database,
  sends: readonly S[],
): Promise<Map<S, Outcome>> {
  const outcomes = new Map<S, Outcome>();
  for (const [duplicate, stored] of await findStored(db, sends))
    outcomes.set(duplicate, stored.isRepeatedBy(duplicate.send) ? stored.accepted : KEY_REUSED);
  return outcomes;
}

/**
 * Compares a send with what was stored first: an edit keeps the first version as a revision. After a
 * recall nothing is left to compare, so that every send with the key counts as a retry.
 */
function isRepeated(row: StoredSendRow, send: Pick<Send, "fields" | "forwarded">): boolean {
  if (row.recalled === true) return true;
  const body = row.first_body ?? row.body;
  if (send.forwarded === undefined) return isSameSend(body, send.fields);
  return isSameForward(row.kind, body, send.forwarded);
}

function isSameForward(kind: number, body: Uint8Array, forwarded: Forwarded): boolean {
  if (forwarded.kind === "merged") return kind === kindNumber("merged");
  const { origin } = fromBinary(EntrySchema, body);
  if (origin === undefined) return false;
  return forwarded.messageId === undefined || origin.messageId === forwarded.messageId;
}

/** The client_message_id was already used for other content. */
export const KEY_REUSED: Outcome & { readonly kind: "refused" } = {
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
