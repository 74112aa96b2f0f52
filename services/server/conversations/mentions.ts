import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Conversation } from "./conversations.ts";
import { type Refusal, refusal } from "./refusal.ts";

/** The users whom a text mentions. */
export interface Mentions {
  /** At most 50, each once. */
  readonly userIds: readonly string[];
  /** Whether it mentions all members. */
  readonly all: boolean;
}

/** User id of the rows of im.mention that mention all members. */
export const ALL_MEMBERS = "0";

/** A text that mentions users. */
export interface MentioningText {
  readonly mentions: Mentions;
  readonly authorId: string;
}

/**
 * Why a text may not mention its users: MENTION_INVALID for one who is not a member, MENTION_ALL_DENIED
 * for an author without the right; undefined when it may. `conversation` has the memberships of the
 * author and of all mentioned users who are members; those of a direct conversation are not needed.
 */
export function mentionsRefusal(
  { kind, users, memberships }: Pick<Conversation, "kind" | "users" | "memberships">,
  { mentions, authorId }: MentioningText,
): Refusal | undefined {
  const isDirect = kind === ConversationKind.DIRECT;
  const at = mentions.userIds.findIndex(
    (id) => !(isDirect ? users.includes(id) : memberships.has(id)),
  );
  if (at >= 0) {
    const field = `mentioned_user_ids[${at}]`;
    const text = `${field}: is not a member of the conversation`;
    return { ...refusal(ErrorReason.MENTION_INVALID, text), field };
  }
  if (!mentions.all || isDirect) return undefined;
  const role = memberships.get(authorId)?.role ?? Role.UNSPECIFIED;
  if (role === Role.ADMIN || role === Role.OWNER) return undefined;
  const text = "only admins and the owner of a group may mention all members";
  return { ...refusal(ErrorReason.MENTION_ALL_DENIED, text), field: "mention_all" };
}

/** The users of the rows of im.mention: those other than the author, and ALL_MEMBERS. */
export function mentionedUsers({ mentions: { userIds, all }, authorId }: MentioningText): string[] {
  const others = userIds.filter((id) => id !== authorId);
  return all ? [...others, ALL_MEMBERS] : others;
}
