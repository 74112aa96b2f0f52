import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { WireWriter } from "#platform/wire.ts";
import type { Tables } from "./tables.ts";

const TEXT_BYTES = 128;
/** Conversations in one statement. */
const BATCH = 5_000;

/** A conversation to be stored. */
export interface StoredConversation {
  readonly kind: "direct" | "group";
  /** Users with a session; a direct conversation with one user gets a second one that does not exist. */
  readonly userIds: readonly string[];
  /**
   * Sequence of its last entry. Only this entry is stored: work on cursors and on lists of conversations reads
   * no other.
   */
  readonly lastSequence: number;
}

/**
 * Stores conversations by SQL, without the server. Returns their ids, in the same order. Sessions that are open
 * do not hear new groups.
 */
export async function storeConversations(
  { pool, ids, clock }: Tables,
  conversations: readonly StoredConversation[],
): Promise<string[]> {
  const stored = ids.take(conversations.length).map(String);
  const text = new WireWriter(TEXT_BYTES + 8).string(1, "x".repeat(TEXT_BYTES)).finish();
  const content = new WireWriter(TEXT_BYTES + 16).bytes(1, text).finish();
  const body = new WireWriter(TEXT_BYTES + 32).bytes(10, content).finish();
  for (let from = 0; from < conversations.length; from += BATCH) {
    const batch = conversations.slice(from, from + BATCH);
    const members = batch.flatMap(({ kind, userIds }, nth) => {
      const conversationId = stored[from + nth]!;
      const users =
        kind === "direct" && userIds.length === 1 ? [...userIds, conversationId] : userIds;
      return users.map((userId) => ({ conversationId, userId, kind: KINDS[kind] }));
    });
    await pool.query(
      `WITH given AS (
         SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::int[])
                         AS g(conversation_id, kind, last, members)
       ), made AS (
         INSERT INTO im.conversation
                (conversation_id, kind, member_count, created_at_ms, last_sequence, last_countable)
         SELECT conversation_id, kind, members, $8, last, last FROM given
       ), member AS (
         INSERT INTO im.member (conversation_id, user_id, kind)
         SELECT * FROM unnest($5::bigint[], $6::bigint[], $7::smallint[])
       )
       INSERT INTO im.entry (conversation_id, sequence, message_id, sender_id, kind, countable,
                             accepted_at_ms, body)
       SELECT conversation_id, last, conversation_id, conversation_id, 1, last, $8, $9
         FROM given`,
      [
        stored.slice(from, from + BATCH),
        batch.map(({ kind }) => KINDS[kind]),
        batch.map(({ lastSequence }) => lastSequence),
        batch.map(({ kind, userIds }) => (kind === "direct" ? 2 : userIds.length)),
        members.map(({ conversationId }) => conversationId),
        members.map(({ userId }) => userId),
        members.map(({ kind }) => kind),
        clock.now(),
        body,
      ],
    );
  }
  return stored;
}

const KINDS = { direct: ConversationKind.DIRECT, group: ConversationKind.GROUP } as const;
