import { randomInt } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type Group,
  GroupSchema,
  type Member,
  MemberSchema,
  Role,
} from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { BUCKETS, bucketOfGroup } from "#platform/buckets/bucket.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Ids } from "#platform/ids.ts";
import { refusalError } from "../conversations/refusal.ts";
import { refusalOfState, type Users } from "../conversations/users.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import type { Turns } from "../log/turns.ts";
import type { CommittedEntry, WriteEntry } from "../log/write-entry.ts";
import { type GroupRequest, readGroupByKey, requestHash } from "./group-requests.ts";
import {
  type GroupRow,
  groupAsLeft,
  groupOf,
  lockGroup,
  mustBeMember,
  mustHaveRoom,
  type OwnGroupRow,
  readMember,
  selectGroup,
} from "./group-rows.ts";

export interface GroupDependencies {
  readonly logs: Logs;
  readonly users: Users;
  readonly ids: Ids;
  readonly clock: Clock;
  readonly config: { readonly maxGroupMembers: number; readonly maxGroupsPerUser: number };
  readonly turns: Turns;
  readonly writeEntry: WriteEntry;
  /** Publishes an entry that was written to the database. Called after each commit. */
  readonly publish: (db: Database, written: CommittedEntry) => void;
}

const GROUP = ConversationKind.GROUP;

export const selectMembers: Statement = {
  name: "im_members",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT user_id, role, muted_until_ms FROM im.member
     WHERE conversation_id = $1::bigint AND user_id > $2::bigint AND left_sequence = 0
       AND im.owns(ARRAY[$1::bigint]) ORDER BY user_id LIMIT $3::int`,
};

/** The users among $2 who are members of the conversation $1. */
export const selectMembersAmong: Statement = {
  name: "im_members_among",
  route: { kind: "conversations", ids: 1 },
  text: `
    SELECT user_id FROM im.member
     WHERE conversation_id = $1::bigint AND user_id = ANY ($2::bigint[]) AND left_sequence = 0
       AND im.owns(ARRAY[$1::bigint])`,
};

/**
 * Creates a group. A retry, with the same client_group_id, returns the existing group. Throws
 * KEY_REUSED, USER_NOT_FOUND, ACCOUNT_DISABLED, GROUP_FULL, UNAVAILABLE.
 */
export async function createGroup(
  dependencies: GroupDependencies,
  group: { ownerId: string; name: string; userIds: readonly string[]; clientGroupId: string },
): Promise<Group> {
  const { config, logs, ids } = dependencies;
  const { ownerId, clientGroupId } = group;
  const others = [...new Set(group.userIds)].filter((id) => id !== ownerId);
  const members = [ownerId, ...others];
  const request: GroupRequest = { ownerId, name: group.name, members, clientGroupId };
  // A group without a key may have any bucket.
  const bucket = clientGroupId === "" ? randomInt(BUCKETS) : bucketOfGroup(ownerId, clientGroupId);
  const existing = await logs.on(bucket, (db) => readGroupByKey(db, request));
  if (existing !== undefined) return existing;
  if (members.length > config.maxGroupMembers) throw groupFull(config.maxGroupMembers);
  await mustBeActive(dependencies.users, others);
  await mustHaveRoom(logs, members, config.maxGroupsPerUser);
  const groupId = String(ids.inBuckets([bucket])[0]);
  return logs.on(bucket, (db) => insertGroup(dependencies, db, groupId, request));
}

/** Creates the group in its database, unless the key has one. */
async function insertGroup(
  { clock, writeEntry, publish }: GroupDependencies,
  db: Database,
  groupId: string,
  request: GroupRequest,
): Promise<Group> {
  const { ownerId, name, members, clientGroupId } = request;
  const createdAtMs = clock.now();
  const written = await db
    .transaction(async (client) => {
      await client.query(
        `INSERT INTO im.conversation (conversation_id, kind, name, owner_id, member_count,
                                      member_version, created_at_ms)
         SELECT $1, ${GROUP}, $2, $3, 0, 0, $4 WHERE im.owns(ARRAY[$1::bigint])`,
        [groupId, name, ownerId, createdAtMs],
      );
      if (clientGroupId !== "") {
        const { rowCount } = await client.query(
          `INSERT INTO im.group_key (creator_id, client_group_id, conversation_id, request_hash)
           VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
          [ownerId, clientGroupId, groupId, requestHash(request)],
        );
        if (rowCount === 0) throw new CreatedConcurrently();
      }
      await client.query(
        `INSERT INTO im.member (conversation_id, user_id, kind, role)
         SELECT $1, user_id, ${GROUP},
                CASE WHEN user_id = $2 THEN ${Role.OWNER} ELSE ${Role.MEMBER} END
           FROM unnest($3::bigint[]) AS i(user_id)`,
        [groupId, ownerId, bigints(members)],
      );
      const userIds = [...members];
      const tip = { kind: { case: "groupCreated", value: { name, userIds } } } as const;
      return writeEntry(client, {
        conversationId: groupId,
        causedBy: ownerId,
        content: { kind: { case: "tip", value: tip } },
      });
    })
    .catch((error: unknown) => {
      if (error instanceof CreatedConcurrently) return undefined;
      throw error;
    });
  if (written === undefined) return (await readGroupByKey(db, request))!;
  publish(db, written);
  return create(GroupSchema, {
    groupId,
    name,
    ownerId,
    memberCount: members.length,
    createdAtMs: BigInt(createdAtMs),
  });
}

/** Reads a group of the caller. Throws CONVERSATION_NOT_FOUND for non-members, UNAVAILABLE. */
export async function getGroup(
  logs: Logs,
  group: { groupId: string; callerId: string },
): Promise<Group> {
  return groupOf(await readOwnGroup(logs, group));
}

/** Reads a group and the role of the caller. Throws CONVERSATION_NOT_FOUND for non-members. */
async function readOwnGroup(
  logs: Logs,
  { groupId, callerId }: { groupId: string; callerId: string },
): Promise<OwnGroupRow> {
  const [row] = await logs.onConversation(groupId, (db) =>
    db.run<GroupRow>(selectGroup, [groupId, callerId]),
  );
  return mustBeMember(row);
}

/**
 * Reads a page of members, in ascending order of their user ids. Throws CONVERSATION_NOT_FOUND for
 * non-members, UNAVAILABLE.
 */
export async function listMembers(
  logs: Logs,
  page: { groupId: string; callerId: string; afterUserId: string; limit: number },
): Promise<Member[]> {
  await readOwnGroup(logs, page);
  const values = [page.groupId, page.afterUserId, page.limit];
  const rows = await logs.onConversation(page.groupId, (db) =>
    db.run<{ user_id: string; role: number; muted_until_ms: string }>(selectMembers, values),
  );
  return rows.map(({ user_id: userId, role, muted_until_ms: mutedUntilMs }) =>
    create(MemberSchema, { userId, role, mutedUntilMs: BigInt(mutedUntilMs) }),
  );
}

/**
 * Adds users to a group. Existing members stay unchanged. A former member joins like a new one, and
 * sees only later entries. Throws CONVERSATION_NOT_FOUND, PERMISSION_DENIED, USER_NOT_FOUND,
 * ACCOUNT_DISABLED, GROUP_FULL, UNAVAILABLE.
 */
export async function addMembers(
  dependencies: GroupDependencies,
  change: { groupId: string; callerId: string; userIds: readonly string[] },
): Promise<Group> {
  const { config, logs } = dependencies;
  const { groupId } = change;
  const row = await readOwnGroup(logs, change);
  mustManage(row);
  const userIds = [...new Set(change.userIds)];
  const members = await logs.onConversation(groupId, (db) =>
    db.run<{ user_id: string }>(selectMembersAmong, [groupId, bigints(userIds)]),
  );
  const already = new Set(members.map(({ user_id }) => user_id));
  const joining = userIds.filter((userId) => !already.has(userId));
  // A retry is harmless, whatever has become of the accounts.
  if (joining.length === 0) return groupOf(row);
  await mustBeActive(dependencies.users, joining);
  await mustHaveRoom(logs, joining, config.maxGroupsPerUser);
  return dependencies.turns.run(groupId, () =>
    logs.onConversation(groupId, (db) => insertMembers(dependencies, db, { ...change, userIds })),
  );
}

/** Adds users to a group in its database. */
async function insertMembers(
  { config, writeEntry, publish }: GroupDependencies,
  db: Database,
  { groupId, callerId, userIds }: { groupId: string; callerId: string; userIds: readonly string[] },
): Promise<Group> {
  const { group, written } = await db.transaction(async (client) => {
    const locked = mustBeMember(await lockGroup(client, groupId, callerId));
    mustManage(locked);
    const { rows } = await client.query<{ user_id: string }>(selectMembersAmong.text, [
      groupId,
      bigints(userIds),
    ]);
    const already = new Set(rows.map((row) => row.user_id));
    const added = userIds.filter((userId) => !already.has(userId));
    if (added.length === 0) return { group: groupOf(locked) };
    if (locked.member_count + added.length > config.maxGroupMembers)
      throw groupFull(config.maxGroupMembers);
    const tip = { kind: { case: "membersAdded", value: { userIds: added } } } as const;
    const written = await writeEntry(client, {
      conversationId: groupId,
      causedBy: callerId,
      content: { kind: { case: "tip", value: tip } },
    });
    // The visible range of a new member starts with the tip. A mute survives leaving and rejoining.
    await client.query(
      `INSERT INTO im.member (conversation_id, user_id, kind, role, first_sequence,
                                delivered_sequence, read_sequence)
         SELECT $1, user_id, ${GROUP}, ${Role.MEMBER}, $2::bigint, $2::bigint - 1,
                $2::bigint - 1
           FROM unnest($3::bigint[]) AS i(user_id)
         ON CONFLICT (conversation_id, user_id) DO UPDATE
           SET role = excluded.role, first_sequence = excluded.first_sequence, left_sequence = 0,
               delivered_sequence = excluded.delivered_sequence,
               read_sequence = excluded.read_sequence, changed_by = excluded.changed_by`,
      [groupId, written.sequence, bigints(added)],
    );
    const member_count = locked.member_count + added.length;
    return { group: groupOf({ ...locked, member_count }), written };
  });
  if (written !== undefined) publish(db, written);
  return group;
}

/**
 * Removes a member. The former member can still read the entries up to the removal. The removal of a
 * former member changes nothing, and so does a second leaving, so that a retry is harmless. Throws
 * CONVERSATION_NOT_FOUND, PERMISSION_DENIED, NOT_A_MEMBER, UNAVAILABLE.
 */
export async function removeMember(
  dependencies: GroupDependencies,
  change: { groupId: string; callerId: string; userId: string },
): Promise<Group> {
  const { logs, turns } = dependencies;
  const { groupId } = change;
  return turns.run(groupId, () =>
    logs.onConversation(groupId, (db) => deleteMember(dependencies, db, change)),
  );
}

/** Removes a member in the group's database. */
async function deleteMember(
  { writeEntry, publish }: GroupDependencies,
  db: Database,
  change: { groupId: string; callerId: string; userId: string },
): Promise<Group> {
  const { groupId, callerId, userId } = change;
  const { group, written } = await db.transaction(async (client) => {
    const row = await lockGroup(client, groupId, callerId);
    if (row.role === null && userId === callerId)
      return { group: await groupAsLeft(client, row, callerId) };
    const locked = mustBeMember(row);
    const member = await readMember(client, { groupId, userId });
    const role = member?.left_sequence === "0" ? member.role : undefined;
    if (!mayRemove({ callerId, callerRole: locked.role, userId, role })) {
      throw fail(ErrorReason.PERMISSION_DENIED, "the caller may not remove this user");
    }
    if (member === undefined) {
      throw fail(ErrorReason.NOT_A_MEMBER, "the user was never a member of the group");
    }
    if (role === undefined) return { group: groupOf(locked) };
    const tip = { kind: { case: "memberRemoved", value: { userId } } } as const;
    const written = await writeEntry(client, {
      conversationId: groupId,
      causedBy: callerId,
      content: { kind: { case: "tip", value: tip } },
    });
    await client.query(
      `UPDATE im.member
            SET left_sequence = $3, role = ${Role.MEMBER}, changed_by = pg_current_xact_id()
          WHERE conversation_id = $1 AND user_id = $2`,
      [groupId, userId, written.sequence],
    );
    return { group: groupOf({ ...locked, member_count: locked.member_count - 1 }), written };
  });
  if (written !== undefined) publish(db, written);
  return group;
}

/** Throws USER_NOT_FOUND or ACCOUNT_DISABLED for the first user who cannot be added. */
async function mustBeActive(users: Users, userIds: readonly string[]): Promise<void> {
  for (const [userId, state] of await users.states(userIds)) {
    const refused = refusalOfState(state);
    if (refused !== undefined)
      throw refusalError({ ...refused, text: `${refused.text}: ${userId}` });
  }
}

/**
 * Rolls the transaction back after a lost race: another call created the group under the same key.
 */
class CreatedConcurrently extends Error {}

function mustManage({ role }: OwnGroupRow): void {
  if (role === Role.OWNER || role === Role.ADMIN) return;
  throw fail(ErrorReason.PERMISSION_DENIED, "only the owner and admins add members");
}

/** A removal to be authorised. */
interface Removal {
  callerId: string;
  callerRole: number;
  userId: string;
  /** Role of the user; undefined for a non-member. */
  role: number | undefined;
}

function mayRemove({ callerId, callerRole, userId, role }: Removal): boolean {
  if (userId === callerId) return callerRole !== Role.OWNER;
  if (callerRole === Role.OWNER) return true;
  return callerRole === Role.ADMIN && (role === undefined || role === Role.MEMBER);
}

const groupFull = (most: number) =>
  fail(ErrorReason.GROUP_FULL, `a group has at most ${most} members`);
