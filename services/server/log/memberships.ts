import { fromBinary } from "@bufbuild/protobuf";
import type { Content, Tip } from "#gen/lucky/message/v1/content_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { mayHaveMemberships } from "./kinds.ts";

/** A user who joined or left a group. */
export interface MembershipChange {
  readonly userId: string;
  readonly groupId: string;
  /** true: joined; false: left. */
  readonly member: boolean;
}

const NONE: readonly MembershipChange[] = [];

/** Memberships that an entry with this content tells of, in the group of its conversation. */
export function membershipsOf({ kind }: Content, groupId: string): readonly MembershipChange[] {
  return kind.case === "tip" ? membershipsOfTip(kind.value, groupId) : NONE;
}

/** Memberships that a stored entry tells of. Decodes the bodies only of kinds that may have some. */
export function storedMemberships(
  { kind, body }: { kind: number; body: Uint8Array },
  groupId: string,
): readonly MembershipChange[] {
  if (!mayHaveMemberships(kind)) return NONE;
  const { content } = fromBinary(EntrySchema, body);
  return content === undefined ? NONE : membershipsOf(content, groupId);
}

function membershipsOfTip({ kind }: Tip, groupId: string): readonly MembershipChange[] {
  switch (kind.case) {
    case "groupCreated":
    case "membersAdded":
      return kind.value.userIds.map((userId) => ({ userId, groupId, member: true }));
    case "memberRemoved":
      return [{ userId: kind.value.userId, groupId, member: false }];
    case undefined:
      return NONE;
  }
}
