import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type Conversation,
  type ConversationService,
  type GetConversationRequest,
  GetConversationResponseSchema,
} from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOfPair } from "#platform/buckets/bucket.ts";
import { userOf } from "#platform/identity/caller.ts";
import { conversationNotFound } from "../conversations/refusal.ts";
import type { Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import {
  CONVERSATION_COLUMNS,
  type ConversationRow,
  conversationOf,
  ENTRY_TABLES,
  MEMBER_COLUMNS,
  MEMBER_TABLES,
} from "./conversation-rows.ts";

export const selectConversation: Statement = {
  name: "im_conversation",
  route: { kind: "conversations", ids: 1 },
  text: `
    WITH page AS MATERIALIZED (
      SELECT ${MEMBER_COLUMNS} FROM ${MEMBER_TABLES}
       WHERE m.conversation_id = $1::bigint AND m.user_id = $2::bigint AND c.last_sequence > 0
         AND im.owns(ARRAY[$1::bigint])
    )
    SELECT ${CONVERSATION_COLUMNS} FROM page ${ENTRY_TABLES}`,
};

/** The direct conversation of two users. Its bucket is $3: a bucket is also one of its own ids. */
export const selectDirect: Statement = {
  name: "im_direct",
  route: { kind: "pairs", lows: 1, highs: 2 },
  text: `
    SELECT conversation_id FROM im.direct
     WHERE low_user_id = $1::bigint AND high_user_id = $2::bigint AND im.owns(ARRAY[$3::bigint])`,
};

/** Implements ConversationService: the conversations of the caller. */
export function conversationService({
  logs,
  mustServe,
}: {
  readonly logs: Logs;
  /** Throws UNAVAILABLE while the instance stops. */
  readonly mustServe: () => void;
}): ServiceImpl<typeof ConversationService> {
  return {
    async getConversation({ target }, context) {
      mustServe();
      const { userId } = userOf(context);
      const conversation = await getConversation(logs, { userId, target });
      return create(GetConversationResponseSchema, { conversation });
    },
  };
}

/**
 * Reads one conversation of a user, former members included. Throws CONVERSATION_NOT_FOUND,
 * UNAVAILABLE.
 */
async function getConversation(
  logs: Logs,
  { userId, target }: { userId: string; target: GetConversationRequest["target"] },
): Promise<Conversation> {
  const conversationId =
    target.case === "userId" ? await directOf(logs, userId, target.value) : target.value;
  if (conversationId === undefined) throw conversationNotFound();
  const [row] = await logs.onConversation(conversationId, (db) =>
    db.run<ConversationRow>(selectConversation, [conversationId, userId]),
  );
  if (row === undefined) throw conversationNotFound();
  return conversationOf(row);
}

/** The id of the direct conversation of two users; undefined for none. Throws UNAVAILABLE. */
async function directOf(logs: Logs, userId: string, peerId: string): Promise<string | undefined> {
  const [low, high] = BigInt(userId) < BigInt(peerId) ? [userId, peerId] : [peerId, userId];
  const bucket = bucketOfPair(low, high);
  const [row] = await logs.on(bucket, (db) =>
    db.run<{ conversation_id: string }>(selectDirect, [low, high, bucket]),
  );
  return row?.conversation_id;
}
