import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Conversation } from "../conversations/conversations.ts";
import { mentionsRefusal } from "../conversations/mentions.ts";
import { type Refusal, refusal } from "../conversations/refusal.ts";
import { DISABLED, MISSING, type Users } from "../conversations/users.ts";
import type { Outcome } from "./outcome.ts";
import type { QueuedSend } from "./queued-send.ts";

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
/** The log must be asked for the message that the send replies to. */
export const REPLY_UNCHECKED = refused(
  refusal(ErrorReason.OVERLOADED, "the message to reply to is not known yet", 500),
);
/** No message that the send may reply to. */
export const REPLY_INVALID = refused({
  ...refusal(ErrorReason.REPLY_TARGET_INVALID, "reply_to_sequence: no such message"),
  field: "reply_to_sequence",
});

/** Why a send is not appended, by the caches of memberships and of users. */
export class Denials {
  readonly #users: Pick<Users, "peek">;
  readonly #clock: Clock;

  constructor({ users, clock }: { users: Pick<Users, "peek">; clock: Clock }) {
    this.#users = users;
    this.#clock = clock;
  }

  /** The outcome that denies the send; undefined when it may be appended. */
  of(
    conversation: Conversation | undefined,
    { send, reply }: Pick<QueuedSend, "send" | "reply">,
  ): Outcome | undefined {
    if (conversation === undefined) return NOT_FOUND;
    const { senderId, mentions } = send;
    const membership = conversation.memberships.get(senderId);
    if (membership === undefined) return NOT_A_MEMBER;
    const { mutedUntilMs } = membership;
    if (mutedUntilMs !== 0 && mutedUntilMs > this.#clock.now()) return MUTED;
    if (conversation.kind === ConversationKind.DIRECT) {
      const [low, high] = conversation.users;
      const denial = this.#ofPeer(low === senderId ? high! : low!);
      if (denial !== undefined) return denial;
    }
    if (mentions !== undefined) {
      const refusal = mentionsRefusal(conversation, { mentions, authorId: senderId });
      if (refusal !== undefined) return refused(refusal);
    }
    if (send.replyTo === undefined || reply === "valid") return undefined;
    return reply === "invalid" ? REPLY_INVALID : REPLY_UNCHECKED;
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
