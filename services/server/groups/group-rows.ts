import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Group, GroupSchema } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/message_pb.js";
import { fail } from "#platform/errors.ts";
import type { PoolClient, Statement } from "../log/database.ts";

/** A group's row, and the role of the caller in it. */
export interface GroupRow {
  conversation_id: string;
  name: string;
  owner_id: string;
  member_count: number;
  created_at_ms: string;
  /** Of the caller; null when the caller is no member. */
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

/** The group that a user made under a key. */
export const selectGroupByKey: Statement = {
  name: "im_group_by_key",
  text: `
    SELECT c.conversation_id, c.name, c.owner_id, c.member_count, c.created_at_ms,
           NULL::int AS role
      FROM im.group_key k JOIN im.conversation c ON c.conversation_id = k.conversation_id
     WHERE k.creator_id = $1::bigint AND k.client_group_id = $2::text`,
};

/** Of a caller who is a member. */
export type OwnGroupRow = GroupRow & { role: number };

/** Holds the group's row until the end of the transaction: changes come one after the other. */
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
  const head = await client.query<GroupRow>(`SELECT ${GROUP_COLUMNS} ${FROM_GROUP}`, [
    groupId,
    callerId,
  ]);
  return mustBeMember(head.rows[0]);
}

/** Throws CONVERSATION_NOT_FOUND when the caller is no member. */
export function mustBeMember(head: GroupRow | undefined): OwnGroupRow {
  if (head === undefined || head.role === null) throw notFound();
  return head as OwnGroupRow;
}

export function groupOf(head: GroupRow): Group {
  return create(GroupSchema, {
    groupId: head.conversation_id,
    name: head.name,
    ownerId: head.owner_id,
    memberCount: head.member_count,
    createdAtMs: BigInt(head.created_at_ms),
  });
}

const notFound = () => fail(ErrorReason.CONVERSATION_NOT_FOUND, "no such group");
