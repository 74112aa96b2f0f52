import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { MAX_LOGS } from "#platform/config/settings.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { type Logs, throwFirst } from "../log/logs.ts";
import { encodePosition, type Position, parsePosition, START } from "../log/positions.ts";
import type { LogEpoch, MemberNews, News } from "./news.ts";

/** The conversations of the users $1 that changed at or after the transaction $2. */
export const selectSweep: Statement = {
  name: "im_sweep",
  route: { kind: "everywhere", merge: "all rows" },
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
  route: { kind: "conversations", ids: 2 },
  text: `
    SELECT i.user_id, i.conversation_id,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence
      FROM unnest($1::bigint[], $2::bigint[]) AS i(user_id, conversation_id)
     CROSS JOIN LATERAL (SELECT u.left_sequence FROM im.member u
                          WHERE u.conversation_id = i.conversation_id
                            AND u.user_id = i.user_id OFFSET 0) m
     CROSS JOIN LATERAL (SELECT k.last_sequence FROM im.conversation k
                          WHERE k.conversation_id = i.conversation_id OFFSET 0) c
     WHERE im.owns($2::bigint[])`,
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
/** Maximum conversations in one read of kinds. */
const CHUNK_CONVERSATIONS = 2_000;

export interface SweepDependencies {
  readonly logs: Logs;
  readonly conversations: Conversations;
  /** By database. */
  readonly news: ReadonlyMap<Database, News>;
}

/** Changes for the users of a request since the previous sweep. */
export interface SweptChanges {
  readonly changes: readonly Change[];
  readonly groups: readonly { readonly groupId: string; readonly lastSequence: bigint }[];
  readonly memberUserIds: readonly string[];
  readonly nextCursor: string;
  /** The databases that were read. */
  readonly databases: readonly LogEpoch[];
}

/**
 * Returns the conversations that changed for the users since a cursor of an earlier sweep, from the
 * news: the cost depends on the number of changed conversations, not on the number of users. The
 * cursor has a position for each database; a database whose position is older than the news, or of
 * another history, selects by users. A database that fails keeps its position. Throws UNAVAILABLE
 * when all fail.
 */
export async function sweep(
  { logs, conversations, news }: SweepDependencies,
  request: { userIds: readonly string[]; cursor: string },
): Promise<SweptChanges> {
  const positions = request.cursor
    .split(",")
    .slice(0, MAX_LOGS)
    .flatMap((text) => parsePosition(text) ?? []);
  const users = new Set(request.userIds);
  const { results, failures } = await logs.everywhere(async (db) => {
    const source = { db, logs, conversations, news: news.get(db)! };
    return sweepOne(source, { users, isFirst: request.cursor === "", positions });
  });
  if (results.length === 0) throwFirst(failures);
  const swept = new Set(results.map(({ next }) => next.history));
  const kept = failures.length > 0 ? positions.filter(({ history }) => !swept.has(history)) : [];
  return {
    changes: results.flatMap(({ changes }) => changes),
    groups: results.flatMap(({ groups }) => groups),
    memberUserIds: [...new Set(results.flatMap(({ memberUserIds }) => memberUserIds))],
    databases: results.flatMap(({ epoch }) => epoch ?? []),
    nextCursor: [...kept, ...results.map(({ next }) => next)].map(encodePosition).join(","),
  };
}

/** Changes in one database. */
interface DatabaseChanges extends Omit<SweptChanges, "nextCursor" | "databases"> {
  readonly epoch: LogEpoch | undefined;
  readonly next: Position;
}

async function sweepOne(
  source: { db: Database; logs: Logs; conversations: Conversations; news: News },
  request: { users: ReadonlySet<string>; isFirst: boolean; positions: readonly Position[] },
): Promise<DatabaseChanges> {
  const { db, logs, conversations, news } = source;
  const { users, isFirst, positions } = request;
  const next = await news.read();
  const { epoch } = news;
  const from = positions.find(({ history }) => history === next.history);
  const changed = isFirst || from !== undefined ? news.since(from) : undefined;
  if (changed === undefined) {
    const after = from?.change ?? (isFirst ? news.floor : START.change);
    const changes = await changesOf(db, users, after);
    return { changes, groups: [], memberUserIds: [], epoch, next };
  }
  const joined = changed.members.filter(({ userId }) => users.has(userId));
  const changes = await visibleEnds(logs, joined);
  const groups: { groupId: string; lastSequence: bigint }[] = [];
  let isWhole = true;
  for (const ids of chunks(changed.conversations.keys(), CHUNK_CONVERSATIONS)) {
    const { found, failures } = await conversations.kinds(ids);
    if (failures.length > 0) isWhole = false;
    for (const [conversationId, { kind, users: both }] of found) {
      const lastSequence = changed.conversations.get(conversationId)!;
      if (kind === ConversationKind.GROUP) {
        groups.push({ groupId: conversationId, lastSequence });
        continue;
      }
      for (const userId of both)
        if (users.has(userId)) changes.push({ userId, conversationId, lastSequence });
    }
  }
  const memberUserIds = [...new Set(joined.map(({ userId }) => userId))];
  // The next sweep repeats this one while conversations cannot be read, because they move for example.
  const kept = from ?? { history: next.history, change: news.floor };
  return { changes, groups, memberUserIds, epoch, next: isWhole ? next : kept };
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

/** Reads the last sequences that members may see. Throws UNAVAILABLE. */
async function visibleEnds(logs: Logs, members: readonly MemberNews[]): Promise<Change[]> {
  const { results, failures } = await logs.spread(
    members,
    ({ groupId }) => bucketOf(groupId),
    (db, theirs) =>
      db.run<ChangeRow>(selectVisibleEnds, [
        bigints(theirs.map(({ userId }) => userId)),
        bigints(theirs.map(({ groupId }) => groupId)),
      ]),
  );
  throwFirst(failures);
  return results.flat().map(changeOf);
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
