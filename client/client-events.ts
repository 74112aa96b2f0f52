import type { Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import type { Kick, SecurityNotice } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Conversation } from "../gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "../gen/lucky/message/v1/entry_pb.js";
import type { Receipt } from "../gen/lucky/message/v1/message_pb.js";
import type { Typing } from "../gen/lucky/presence/v1/presence_pb.js";
import type { ClientTooOld, SessionState } from "./connection/reconnecting-session.ts";
import type { Jump } from "./logs/conversation-logs-options.ts";
import type { Change } from "./messages/change.ts";
import type { Settled } from "./sending/send-queue.ts";

/** The events of a client, by name, with their values. */
export interface ClientEvents {
  /**
   * The next message or tip of a conversation: in order, once, without a gap. Includes the sends of the
   * user's other devices, but not the sends of this client: their promises resolve with the
   * sequence. A message that was changed has its current content and `state`.
   */
  message: Entry;
  /**
   * The next change of earlier messages, in the same order: also those that this client made. `applyChange`
   * and `ConversationMessages` apply it.
   */
  change: Change;
  /**
   * With `catchUp: "jump"`: a conversation was far behind, and its entries after `after` up to `to` were
   * skipped. `messagesBefore` reads them. Older messages that were changed meanwhile follow as
   * `messageChanged`.
   */
  jumped: Jump;
  /**
   * A message that was emitted or returned earlier was changed by entries that this client skipped: the
   * message as it is now. `newerOf` decides whether it replaces the held one.
   */
  messageChanged: Entry;
  receipt: Receipt;
  /** Expires after 6 seconds. */
  typing: Typing;
  /** A conversation is new, or changed while the device was offline. */
  conversation: Conversation;
  /**
   * The log of a conversation was reset on the server: a restored backup may have given its sequences to
   * other entries. Discard all entries of the conversation; `message` follows with those that it has now.
   */
  logReset: { readonly conversationId: string };
  state: SessionState;
  /** The server is about to close the session; the event carries the reason. */
  kicked: Kick;
  /** The server requires a newer client; the session stays closed. */
  clientTooOld: ClientTooOld;
  /**
   * A security-relevant change of the account, to show to its user. May be lost:
   * `devices.listSecurityNotices` returns those of the last 30 days.
   */
  securityNotice: SecurityNotice;
  /** A send got its result; includes sends that an earlier run left in the store. */
  settled: Settled;
  /** New tokens, to be stored for `resume`: the previous refresh token is no longer valid. */
  tokens: Tokens;
}
