import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { type Refusal, refusal } from "./refusal.ts";

/** Whom a text mentions. */
export interface Mentions {
  readonly mentionedUserIds: readonly string[];
  readonly mentionAll: boolean;
}

const ALL_DENIED = refusal(
  ErrorReason.MENTION_ALL_DENIED,
  "only the owner and admins of a group mention all members",
);

/** Why the author may not mention these users; undefined when nothing is wrong. */
export function mentionsRefusal(
  { mentionedUserIds, mentionAll }: Mentions,
  author: {
    readonly kind: ConversationKind;
    /** lucky.group.v1.Role of the author. */
    readonly role: number;
    /** Whether a user is a member of the conversation now. */
    readonly isMember: (userId: string) => boolean;
  },
): Refusal | undefined {
  if (mentionAll && author.kind === ConversationKind.GROUP && author.role < Role.ADMIN)
    return ALL_DENIED;
  const stranger = mentionedUserIds.find((userId) => !author.isMember(userId));
  if (stranger === undefined) return undefined;
  const text = `the mentioned user ${stranger} is not a member of the conversation`;
  return refusal(ErrorReason.MENTION_INVALID, text);
}
