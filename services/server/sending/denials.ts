import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Conversation } from "../conversations/conversations.ts";
import { type Refusal, refusal } from "../conversations/refusal.ts";
import { DISABLED, MISSING, type Users } from "../conversations/users.ts";
import type { Outcome } from "./outcome.ts";

const refused = (refusal: Refusal): Outcome => ({ kind: "refused", refusal });

const NOT_FOUND = refused(refusal(ErrorReason.CONVERSATION_NOT_FOUND, "no such conversation"));
const NOT_A_MEMBER = refused(
  refusal(ErrorReason.NOT_A_MEMBER, "the sender is not a member of the conversation"),
);
const MUTED = refused(refusal(ErrorReason.MUTED, "the sender is muted in the conversation"));
const PEER_MISSING = refused(MISSING);
const PEER_DISABLED = refused(DISABLED);
/** The state of the other user is not cached: auth must be asked, and the send be retried. */
export const UNCHECKED = refused(
  refusal(ErrorReason.OVERLOADED, "the state of the other user is not known yet", 500),
);

/** Why a send is not appended, by the caches of memberships and of users. */
export class Denials {
  readonly #users: Pick<Users, "peek">;
  readonly #clock: Clock;

  constructor({ users, clock }: { users: Pick<Users, "peek">; clock: Clock }) {
    this.#users = users;
    this.#clock = clock;
  }

  /** The outcome that denies the sender; undefined when the sender may write. */
  of(conversation: Conversation | undefined, senderId: string): Outcome | undefined {
    if (conversation === undefined) return NOT_FOUND;
    const membership = conversation.memberships.get(senderId);
    if (membership === undefined) return NOT_A_MEMBER;
    const { mutedUntilMs } = membership;
    if (mutedUntilMs !== 0 && mutedUntilMs > this.#clock.now()) return MUTED;
    if (conversation.kind !== ConversationKind.DIRECT) return undefined;
    const [low, high] = conversation.users;
    return this.#ofPeer(low === senderId ? high! : low!);
  }

  #ofPeer(userId: string): Outcome | undefined {
    const state = this.#users.peek(userId);
    switch (state) {
      case "active":
        return undefined;
      case "missing":
        return PEER_MISSING;
      case "disabled":
        return PEER_DISABLED;
      case undefined:
        return UNCHECKED;
    }
  }
}
