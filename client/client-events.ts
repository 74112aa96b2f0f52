import type { Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import type { Kick, SecurityNotice } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Conversation, Entry, Receipt } from "../gen/lucky/message/v1/message_pb.js";
import type { Typing } from "../gen/lucky/presence/v1/presence_pb.js";
import type { SessionState } from "./connection/reconnecting-session.ts";
import type { Settled } from "./sending/send-queue.ts";

/** What a client tells. */
export interface ClientEvents {
  /**
   * The next entry of a conversation: in order, once, without a gap. Not for what this very client
   * sent (its promise says where that is in the log); for what the user's other devices sent, yes.
   */
  message: Entry;
  receipt: Receipt;
  /** Lapses after 6 seconds. */
  typing: Typing;
  /** A conversation changed while the device was away, or is new. */
  conversation: Conversation;
  state: SessionState;
  /** The server is about to close the session, and why. */
  kicked: Kick;
  /** Something happened to the account that its user should know of. May be lost. */
  securityNotice: SecurityNotice;
  /** Any send got its result, also one that an earlier run left in the store. */
  settled: Settled;
  /** New tokens, to be kept for `resume`: the refresh token before them is used up. */
  tokens: Tokens;
}
