import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  AddMembersResponseSchema,
  CreateGroupResponseSchema,
  GetGroupResponseSchema,
  type GroupService,
  ListMembersResponseSchema,
  RemoveMemberResponseSchema,
} from "#gen/lucky/group/v1/group_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { idOfPageToken, pageOf, pageTokenOf } from "#platform/rpc/pages.ts";
import { spanKey } from "#platform/tracing/traces.ts";
import {
  addMembers,
  createGroup,
  type GroupDependencies,
  getGroup,
  listMembers,
  removeMember,
} from "./groups.ts";

const DEFAULT_PAGE_SIZE = 200;

/** Implements GroupService: groups and their members. */
export function groupService(
  dependencies: GroupDependencies & {
    /** Throws UNAVAILABLE while the instance stops. */
    readonly mustServe: () => void;
  },
): ServiceImpl<typeof GroupService> {
  const { logs, mustServe } = dependencies;

  /** The dependencies of a call: the publication of its entry is a part of its trace. */
  function tracedBy({ values }: HandlerContext): GroupDependencies {
    const span = values.get(spanKey);
    if (span === undefined) return dependencies;
    return {
      ...dependencies,
      publish: (db, written) => dependencies.publish(db, { ...written, span }),
    };
  }

  return {
    async createGroup({ name, userIds, clientGroupId }, context) {
      mustServe();
      const { userId: ownerId } = userOf(context);
      const request = { ownerId, name, userIds, clientGroupId };
      const group = await createGroup(tracedBy(context), request);
      return create(CreateGroupResponseSchema, { group });
    },
    async getGroup({ groupId }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const group = await getGroup(logs, { groupId, callerId });
      return create(GetGroupResponseSchema, { group });
    },
    async listMembers({ groupId, pageSize, pageToken }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const size = pageSize || DEFAULT_PAGE_SIZE;
      const afterUserId = String(idOfPageToken(pageToken) ?? 0n);
      const found = await listMembers(logs, { groupId, callerId, afterUserId, limit: size + 1 });
      const { page, nextPageToken } = pageOf(found, size, ({ userId }) =>
        pageTokenOf(BigInt(userId)),
      );
      return create(ListMembersResponseSchema, { members: page, nextPageToken });
    },
    async addMembers({ groupId, userIds }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const group = await addMembers(tracedBy(context), { groupId, callerId, userIds });
      return create(AddMembersResponseSchema, { group });
    },
    async removeMember({ groupId, userId }, context) {
      mustServe();
      const { userId: callerId } = userOf(context);
      const group = await removeMember(tracedBy(context), { groupId, callerId, userId });
      return create(RemoveMemberResponseSchema, { group });
    },
  };
}
