import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import type { Conversations } from "../conversations/conversations.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { encodePosition, parsePosition, START } from "../log/positions.ts";
import type { MemberNews, News } from "./news.ts";

export const selectGroups: Statement = {
  name: "im_groups_of",
  text: `
    SELECT i.user_id, m.conversation_id
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT g.conversation_id FROM im.member g
                          WHERE g.user_id = i.user_id AND g.kind = 2 AND g.left_sequence = 0
                         OFFSET 0) m`,
};

/** The conversations of the users $1 that changed at or after the transaction $2. */
export const selectSweep: Statement = {
  name: "im_sweep",
  text: `
    SELECT i.user_id, m.conversation_id,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT u.conversation_id, u.left_sequence, u.changed_by
                           FROM im.member u WHERE u.user_id = i.user_id OFFSET 0) m
     CROSS JOIN LATERAL (SELECT k.last_sequence, k.changed_by FROM im.conversation k
                          WHERE k.conversation_id = m.conversation_id OFFSET 0) c
     WHERE CASE WHEN m.left_sequence > 0 THEN m.changed_by ELSE c.changed_by END >= $2::xid8
       AND c.last_sequence > 0`,
};

/** The last sequence that each user $1 may see in the conversation $2. */
export const selectVisibleEnds: Statement = {
  name: "im_visible_ends",
  text: `
    SELECT i.user_id, i.conversation_id,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence
      FROM unnest($1::bigint[], $2::bigint[]) AS i(user_id, conversation_id)
     CROSS JOIN LATERAL (SELECT u.left_sequence FROM im.member u
                          WHERE u.conversation_id = i.conversation_id
                            AND u.user_id = i.user_id OFFSET 0) m
     CROSS JOIN LATERAL (SELECT k.last_sequence FROM im.conversation k
                          WHERE k.conversation_id = i.conversation_id OFFSET 0) c`,
};

/** A changed conversation of a user. */
export interface Change {
  readonly userId: string;
  readonly conversationId: string;
  /** Last sequence that the user may see. */
  readonly lastSequence: bigint;
}

/** Maximum users in one statement. */
const CHUNK_USERS = 2_000;
/** Maximum conversations that are read at once when they are not cached. */
const CHUNK_CONVERSATIONS = 2_000;

/** Reads the group ids of each user, in the order of the users. Throws UNAVAILABLE. */
export async function groupsOf(db: Database, userIds: readonly string[]): Promise<string[][]> {
  const byUser = new Map<string, string[]>();
  for (const chunk of chunks(new Set(userIds), CHUNK_USERS)) {
    const rows = await db.run<{ user_id: string; conversation_id: string }>(selectGroups, [
      bigints(chunk),
    ]);
    for (const { user_id: userId, conversation_id: groupId } of rows) {
      const groups = byUser.get(userId);
      if (groups === undefined) byUser.set(userId, [groupId]);
      else groups.push(groupId);
    }
  }
  return userIds.map((userId) => byUser.get(userId) ?? []);
}

export interface SweepDependencies {
  readonly db: Database;
  readonly conversations: Conversations;
  readonly news: News;
}

/** Changes for the users of a request since the previous sweep. */
export interface SweptChanges {
  readonly changes: readonly Change[];
  readonly groups: readonly { readonly groupId: string; readonly lastSequence: bigint }[];
  readonly memberUserIds: readonly string[];
  readonly nextCursor: string;
}

/**
 * Returns the conversations that changed for the users since a cursor of an earlier sweep, from the
 * news: the cost depends on the number of changed conversations, not on the number of users. A cursor
 * that is older than the news, or of another history, selects by users. Throws UNAVAILABLE.
 */
export async function sweep(
  { db, conversations, news }: SweepDependencies,
  request: { userIds: readonly string[]; cursor: string },
): Promise<SweptChanges> {
  const { cursor } = request;
  const userIds = new Set(request.userIds);
  const position = await news.read();
  const nextCursor = encodePosition(position);
  const from = cursor === "" ? undefined : (parsePosition(cursor) ?? START);
  const changed = news.since(from);
  if (changed === undefined) {
    const after = from?.history === position.history ? from.change : START.change;
    const changes = await changesOf(db, userIds, after);
    return { changes, groups: [], memberUserIds: [], nextCursor };
  }
  const joined = changed.members.filter(({ userId }) => userIds.has(userId));
  const changes = await visibleEnds(db, joined);
  const groups: { groupId: string; lastSequence: bigint }[] = [];
  for (const ids of chunks(changed.conversations.keys(), CHUNK_CONVERSATIONS)) {
    for (const [conversationId, { kind, users }] of await conversations.all(ids)) {
      const lastSequence = changed.conversations.get(conversationId)!;
      if (kind === ConversationKind.GROUP) {
        groups.push({ groupId: conversationId, lastSequence });
        continue;
      }
      for (const userId of users)
        if (userIds.has(userId)) changes.push({ userId, conversationId, lastSequence });
    }
  }
  const memberUserIds = [...new Set(joined.map(({ userId }) => userId))];
  return { changes, groups, memberUserIds, nextCursor };
}

/** Reads the conversations of the users that changed at or after a transaction. Throws UNAVAILABLE. */
async function changesOf(
  db: Database,
  userIds: Iterable<string>,
  change: string,
): Promise<Change[]> {
  const changes: Change[] = [];
  for (const chunk of chunks(userIds, CHUNK_USERS))
    for (const row of await db.run<ChangeRow>(selectSweep, [bigints(chunk), change]))
      changes.push(changeOf(row));
  return changes;
}

async function visibleEnds(db: Database, members: readonly MemberNews[]): Promise<Change[]> {
  if (members.length === 0) return [];
  const rows = await db.run<ChangeRow>(selectVisibleEnds, [
    bigints(members.map(({ userId }) => userId)),
    bigints(members.map(({ groupId }) => groupId)),
  ]);
  return rows.map(changeOf);
}

interface ChangeRow {
  user_id: string;
  conversation_id: string;
  last_sequence: string;
}

function changeOf(row: ChangeRow): Change {
  return {
    userId: row.user_id,
    conversationId: row.conversation_id,
    lastSequence: BigInt(row.last_sequence),
  };
}

/** Consecutive parts of at most `size` items. */
function* chunks(items: Iterable<string>, size: number): Generator<readonly string[]> {
  let chunk: string[] = [];
  for (const item of items) {
    if (chunk.push(item) < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
