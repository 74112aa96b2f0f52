import assert from "node:assert/strict";
import type { Conversation } from "#gen/lucky/message/v1/conversation_pb.js";
import type { RunningServer } from "../server.fixture.ts";

/** Reads all pages of Sync after a cursor. */
export async function syncAll(server: RunningServer, userId: string, from = "", limit = 7) {
  const conversations: Conversation[] = [];
  let cursor = from;
  for (let pages = 0; ; pages++) {
    assert.ok(pages < 200, "the pages never end");
    const answer = await server.messages(userId).sync({ cursor, pageSize: limit });
    assert.ok(answer.conversations.length <= limit);
    conversations.push(...answer.conversations);
    cursor = answer.nextCursor;
    if (!answer.hasMore) return { conversations, cursor };
  }
}
