import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Group, GroupSchema } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import { fail } from "#platform/errors.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient, Statement } from "../log/database.ts";

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
  text: `SELECT ${GROUP_COLUMNS} ${FROM_GROUP}`,
};

/** The group that a user created under a client_group_id. */
export const selectGroupByKey: Statement = {
  name: "im_group_by_key",
  text: `
    SELECT c.conversation_id, c.name, c.owner_id, c.member_count, c.created_at_ms,
           NULL::int AS role
      FROM im.group_key k JOIN im.conversation c ON c.conversation_id = k.conversation_id
     WHERE k.creator_id = $1::bigint AND k.client_group_id = $2::text`,
};

/** The row of a caller who is a member. */
export type OwnGroupRow = GroupRow & { role: number };

/**
 * Locks the group's row until the end of the transaction, which serialises the changes of a group.
 * Throws CONVERSATION_NOT_FOUND for non-members.
 */
export async function lockGroup(
  client: PoolClient,
  groupId: string,
  callerId: string,
): Promise<OwnGroupRow> {
  const { rows } = await client.query<GroupRow>(
    `SELECT 1 FROM im.conversation WHERE conversation_id = $1 FOR NO KEY UPDATE`,
    [groupId],
  );
  if (rows.length === 0) throw notFound();
  const row = await client.query<GroupRow>(`SELECT ${GROUP_COLUMNS} ${FROM_GROUP}`, [
    groupId,
    callerId,
  ]);
  return mustBeMember(row.rows[0]);
}

/** Throws CONVERSATION_NOT_FOUND when the caller is not a member. */
export function mustBeMember(row: GroupRow | undefined): OwnGroupRow {
  if (row === undefined || row.role === null) throw notFound();
  return row as OwnGroupRow;
}

/**
 * One of the users $1 who are in at least $2 groups. It reads at most $2 entries per user, of the
 * index of current groups, member_group.
 */
export const selectUserInMaxGroups = `
  SELECT user_id FROM unnest($1::bigint[]) AS i(user_id)
   WHERE EXISTS (SELECT 1 FROM im.member m
                  WHERE m.user_id = i.user_id AND m.kind = ${ConversationKind.GROUP}
                    AND m.left_sequence = 0
                 OFFSET $2::int - 1 LIMIT 1)
   LIMIT 1`;

/**
 * Throws GROUP_FULL when one of the users, who are about to join, is in `max` groups already. Takes
 * no lock: each other transaction that adds the user to another group at the same time can exceed
 * the maximum by one.
 */
export async function mustHaveRoom(
  client: PoolClient,
  userIds: readonly string[],
  max: number,
): Promise<void> {
  const { rows } = await client.query<{ user_id: string }>(selectUserInMaxGroups, [
    bigints(userIds),
    max,
  ]);
  const [row] = rows;
  if (row === undefined) return;
  const text = `user ${row.user_id} is in ${max} groups already, the maximum`;
  throw fail(ErrorReason.GROUP_FULL, text);
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
