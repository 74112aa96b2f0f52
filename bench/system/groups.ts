import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { clientOf } from "../../test/world/people.ts";
import type { System } from "./system.ts";
import type { User } from "./users.ts";

/** Maximum members in one call. */
const PAGE = 1_000;

/** Creates a group of all users, with the first as its owner. Returns the id of its conversation. */
export async function makeGroup({ url }: System, users: readonly User[]): Promise<string> {
  const [owner, ...members] = users;
  const groups = clientOf(url, GroupService, owner!.accessToken);
  const ids = members.map(({ userId }) => userId);
  const { group } = await groups.createGroup({ name: "bench", userIds: ids.slice(0, PAGE) });
  const groupId = group!.groupId;
  for (let at = PAGE; at < ids.length; at += PAGE) {
    await groups.addMembers({ groupId, userIds: ids.slice(at, at + PAGE) });
  }
  return groupId;
}
