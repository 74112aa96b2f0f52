import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Group, GroupSchema } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { fail } from "#platform/errors.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient, Statement } from "../log/database.ts";
import { type Logs, throwFirst } from "../log/logs.ts";
import { isMoving } from "../log/moved-rows.ts";

/** A group, and the role of the caller in it. */
export interface GroupRow {
  conversation_id: string;
  name: string;
  owner_id: string;
  member_count: number;
  created_at_ms: string;
  /** Role of the caller; null for a non-member. */
  role: number | null;
}

const GROUP_COLUMNS = `c.conversation_id, c.name, c.owner_id, c.member_count, c.created_at_ms, m.role`;
const FROM_GROUP = `FROM im.conversation c
  LEFT JOIN im.member m ON m.conversation_id = c.conversation_id AND m.user_id = $2::bigint
                       AND m.left_sequence = 0
  WHERE c.conversation_id = $1::bigint AND c.kind = ${ConversationKind.GROUP}`;

export const selectGroup: Statement = {
  name: "im_group",
  route: { kind: "conversations", ids: 1 },
  text: `SELECT ${GROUP_COLUMNS} ${FROM_GROUP} AND im.owns(ARRAY[$1::bigint])`,
};

/** The group that a user created under a client_group_id. */
export const selectGroupByKey: Statement = {
  name: "im_group_by_key",
  route: { kind: "groupKey", creator: 1, key: 2 },
  text: `
    SELECT c.conversation_id, c.name, c.owner_id, c.member_count, c.created_at_ms,
           NULL::int AS role, k.request_hash
      FROM im.group_key k JOIN im.conversation c ON c.conversation_id = k.conversation_id
     WHERE k.creator_id = $1::bigint AND k.client_group_id = $2::text`,
};

/** The row of a caller who is a member. */
export type OwnGroupRow = GroupRow & { role: number };

/**
 * Locks the group's row until the end of the transaction, which serialises the changes of a group.
 * Throws CONVERSATION_NOT_FOUND when there is no such group.
 */
export async function lockGroup(
  client: PoolClient,
  groupId: string,
  callerId: string,
): Promise<GroupRow> {
  const { rows } = await client.query(
    `SELECT 1 FROM im.conversation
      WHERE conversation_id = $1 AND im.owns(ARRAY[$1::bigint]) FOR NO KEY UPDATE`,
    [groupId],
  );
  if (rows.length === 0) throw notFound();
  const row = await client.query<GroupRow>(`SELECT ${GROUP_COLUMNS} ${FROM_GROUP}`, [
    groupId,
    callerId,
  ]);
  const group = row.rows[0];
  // Also a direct conversation has a row.
  if (group === undefined) throw notFound();
  return group;
}

/** A membership, current or former. */
interface MemberRow {
  role: number;
  /** "0" for a current member. */
  left_sequence: string;
}

/** Reads a current or former member; undefined for a user who never was one. */
export async function readMember(
  client: PoolClient,
  { groupId, userId }: { groupId: string; userId: string },
): Promise<MemberRow | undefined> {
  const { rows } = await client.query<MemberRow>(
    "SELECT role, left_sequence FROM im.member WHERE conversation_id = $1 AND user_id = $2",
    [groupId, userId],
  );
  return rows[0];
}

/**
 * The group as of the moment when a former member left: a later number of members is none of the
 * caller's business. Throws CONVERSATION_NOT_FOUND for a user who never was a member.
 */
export async function groupAsLeft(
  client: PoolClient,
  row: GroupRow,
  userId: string,
): Promise<Group> {
  const groupId = row.conversation_id;
  const member = await readMember(client, { groupId, userId });
  if (member === undefined) throw notFound();
  const { rows } = await client.query<{ members: number }>(
    `SELECT count(*)::int AS members FROM im.member
      WHERE conversation_id = $1 AND first_sequence <= $2
        AND (left_sequence = 0 OR left_sequence > $2)`,
    [groupId, member.left_sequence],
  );
  return groupOf({ ...row, member_count: rows[0]!.members });
}

/** Throws CONVERSATION_NOT_FOUND when the caller is not a member. */
export function mustBeMember(row: GroupRow | undefined): OwnGroupRow {
  if (row === undefined || row.role === null) throw notFound();
  return row as OwnGroupRow;
}

/**
 * The number of groups of each user of $1, at most $2. It reads at most $2 entries per user, of the
 * index of current groups, member_group.
 */
export const countGroups: Statement = {
  name: "im_group_count",
  route: { kind: "everywhere", merge: "the sum by user" },
  text: `
    SELECT i.user_id, n.groups
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (
       SELECT count(*)::int AS groups
         FROM (SELECT 1 FROM im.member m
                WHERE m.user_id = i.user_id AND m.kind = ${ConversationKind.GROUP}
                  AND m.left_sequence = 0 AND NOT ${isMoving("m.conversation_id")}
                LIMIT $2::int) AS seen) n
     WHERE n.groups > 0`,
};

/**
 * Throws GROUP_FULL when one of the users, who are about to join, is in `max` groups already. Takes
 * no lock: each other call that adds the user to another group at the same time can exceed the
 * maximum by one. The groups of a database that is away do not count, and neither do groups while
 * they move: two databases may have their rows.
 */
export async function mustHaveRoom(
  logs: Logs,
  userIds: readonly string[],
  max: number,
): Promise<void> {
  const { results, failures } = await logs.everywhere((db) =>
    db.run<{ user_id: string; groups: number }>(countGroups, [bigints(userIds), max]),
  );
  if (results.length === 0) throwFirst(failures);
  const counts = new Map<string, number>();
  for (const { user_id: userId, groups } of results.flat()) {
    const count = (counts.get(userId) ?? 0) + groups;
    counts.set(userId, count);
    if (count < max) continue;
    const text = `user ${userId} is in ${max} groups already, the maximum`;
    throw fail(ErrorReason.GROUP_FULL, text);
  }
}

export function groupOf(row: GroupRow): Group {
  return create(GroupSchema, {
    groupId: row.conversation_id,
    name: row.name,
    ownerId: row.owner_id,
    memberCount: row.member_count,
    createdAtMs: BigInt(row.created_at_ms),
  });
}

const notFound = () => fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such group");
