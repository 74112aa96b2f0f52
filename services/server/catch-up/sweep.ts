import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { bucketOf } from "#platform/buckets/bucket.ts";
import { MAX_LOGS } from "#platform/config/settings.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { bigints } from "../log/arrays.ts";
import { type Database, type Statement, unreachable } from "../log/database.ts";
import { type Logs, throwFirst } from "../log/logs.ts";
import { byUser, readByUser } from "../log/moved-rows.ts";
import { encodePosition, type Position, parsePosition, START } from "../log/positions.ts";
import type { ChangedSince, LogEpoch, MemberNews, News } from "./news.ts";

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

export const changesByUser = byUser(selectSweep, ["user_id", "conversation_id", "last_sequence"]);

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
 * cursor has a position for each database. When a position is older than the news, or of another history,
 * all databases select by users: a bucket may have moved from that database to another one, where the news
 * lacks its older changes. A database that fails keeps its position. Throws UNAVAILABLE when all fail.
 */
export async function sweep(
  dependencies: SweepDependencies,
  request: { userIds: readonly string[]; cursor: string },
): Promise<SweptChanges> {
  const { logs, news } = dependencies;
  const positions = request.cursor
    .split(",")
    .slice(0, MAX_LOGS)
    .flatMap((text) => parsePosition(text) ?? []);
  const isFirst = request.cursor === "";
  const { results: reads, failures } = await logs.everywhere((db) =>
    readNews(db, news.get(db)!, { positions, isFirst }),
  );
  if (reads.length === 0) throwFirst(failures);
  const users = new Set(request.userIds);
  const fromNews = await changesFromNews(dependencies, reads, users);
  const isOld = reads.some(({ changed }) => changed === undefined);
  const selected = isOld ? await selectByUsers(logs, reads, users) : NOTHING;
  const unread = new Set([...fromNews.unread, ...selected.unread]);
  const current = new Set(reads.map(({ next }) => next.history));
  const kept = failures.length > 0 ? positions.filter(({ history }) => !current.has(history)) : [];
  // The next sweep repeats this one where conversations could not be read, because they move for example.
  const next = reads.map((read) => (unread.has(read) ? read.from : read.next));
  return {
    changes: [...fromNews.changes, ...selected.changes],
    groups: fromNews.groups,
    memberUserIds: [...new Set(fromNews.memberUserIds)],
    databases: reads.flatMap(({ epoch }) => epoch ?? []),
    nextCursor: [...kept, ...next].map(encodePosition).join(","),
  };
}

/** The news of one database. */
interface NewsRead {
  readonly db: Database;
  readonly epoch: LogEpoch | undefined;
  /** Position of the cursor, or that from which the database is read without one. */
  readonly from: Position;
  readonly next: Position;
  /** Undefined when the position is older than the news, or of another history. */
  readonly changed: ChangedSince | undefined;
}

/** Changes from all databases, and the databases that have to be read again. */
interface FoundChanges extends Pick<SweptChanges, "changes" | "groups" | "memberUserIds"> {
  readonly unread: ReadonlySet<NewsRead>;
}

async function readNews(
  db: Database,
  news: News,
  { positions, isFirst }: { positions: readonly Position[]; isFirst: boolean },
): Promise<NewsRead> {
  const next = await news.read();
  const { epoch } = news;
  const { history } = next;
  const known = positions.find((position) => position.history === history);
  const changed = isFirst || known !== undefined ? news.since(known) : undefined;
  const from = known ?? { history, change: isFirst ? news.floor : START.change };
  return { db, epoch, from, next, changed };
}

const NOTHING: FoundChanges = { changes: [], groups: [], memberUserIds: [], unread: new Set() };

/** Changes from the news of the databases whose position is not too old. */
async function changesFromNews(
  { logs, conversations }: SweepDependencies,
  reads: readonly NewsRead[],
  users: ReadonlySet<string>,
): Promise<FoundChanges> {
  const changes: Change[] = [];
  const groups: { groupId: string; lastSequence: bigint }[] = [];
  const memberUserIds: string[] = [];
  const unread = new Set<NewsRead>();
  await Promise.all(
    reads.map(async (read) => {
      const { changed } = read;
      if (changed === undefined) return;
      const joined = changed.members.filter(({ userId }) => users.has(userId));
      memberUserIds.push(...joined.map(({ userId }) => userId));
      const { ends, failed } = await visibleEnds(logs, joined);
      changes.push(...ends);
      if (failed) unread.add(read);
      for (const ids of chunks(changed.conversations.keys(), CHUNK_CONVERSATIONS)) {
        const { found, failures } = await conversations.kinds(ids);
        if (failures.length > 0) unread.add(read);
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
    }),
  );
  return { changes, groups, memberUserIds, unread };
}

/** Reads the conversations of the users that changed at or after the positions. */
async function selectByUsers(
  logs: Logs,
  reads: readonly NewsRead[],
  users: ReadonlySet<string>,
): Promise<FoundChanges> {
  const byDatabase = new Map(reads.map((read) => [read.db, read]));
  const changes: Change[] = [];
  const unread = new Set<NewsRead>();
  for (const chunk of chunks(users, CHUNK_USERS)) {
    const ids = bigints(chunk);
    const { rows, failed, moved } = await readByUser<ChangeRow>(logs, changesByUser, (db) => {
      const read = byDatabase.get(db);
      if (read === undefined) throw unreachable();
      return [ids, read.from.change];
    });
    changes.push(...rows.map(changeOf));
    for (const read of reads) if (moved || failed.includes(read.db)) unread.add(read);
  }
  return { changes, groups: [], memberUserIds: [], unread };
}

/** Reads the last sequences that members may see; `failed`: those of some members are missing. */
async function visibleEnds(
  logs: Logs,
  members: readonly MemberNews[],
): Promise<{ ends: Change[]; failed: boolean }> {
  const { results, failures } = await logs.spread(
    members,
    ({ groupId }) => bucketOf(groupId),
    (db, theirs) =>
      db.run<ChangeRow>(selectVisibleEnds, [
        bigints(theirs.map(({ userId }) => userId)),
        bigints(theirs.map(({ groupId }) => groupId)),
      ]),
  );
  return { ends: results.flat().map(changeOf), failed: failures.length > 0 };
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
