import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AddMembersResponseSchema,
  CreateGroupResponseSchema,
  GetGroupResponseSchema,
  type GroupService,
  ListMembersResponseSchema,
  RemoveMemberResponseSchema,
} from "#gen/lucky/group/v1/group_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { requirePrintable } from "#platform/printable.ts";
import type { Groups } from "./groups.ts";

const DEFAULT_LIMIT = 200;

/** What users call to make groups and to change who is in them. */
export function groupService(parts: {
  readonly groups: Groups;
  /** Throws UNAVAILABLE when nothing new is taken on. */
  readonly mustServe: () => void;
}): ServiceImpl<typeof GroupService> {
  const { groups, mustServe } = parts;
  return {
    async createGroup({ name, userIds, clientGroupId }, context) {
      requirePrintable("name", name);
      mustServe();
      const { userId: ownerId } = userOf(context);
      const group = await groups.create({ ownerId, name, userIds, clientGroupId });
      return create(CreateGroupResponseSchema, { group });
    },
    async getGroup({ groupId }, context) {
      mustServe();
      const group = await groups.get(groupId, userOf(context).userId);
      return create(GetGroupResponseSchema, { group });
    },
    async listMembers({ groupId, afterUserId, limit }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const page = { groupId, callerId, afterUserId, limit: limit || DEFAULT_LIMIT };
      return create(ListMembersResponseSchema, { members: await groups.members(page) });
    },
    async addMembers({ groupId, userIds }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const group = await groups.add({ groupId, callerId, userIds });
      return create(AddMembersResponseSchema, { group });
    },
    async removeMember({ groupId, userId }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const group = await groups.remove({ groupId, callerId, userId });
      return create(RemoveMemberResponseSchema, { group });
    },
  };
}
