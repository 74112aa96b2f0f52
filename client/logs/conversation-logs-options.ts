import type { Conversation } from "../../gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type { Clock } from "../clock.ts";
import type { MessageRanges } from "../messages/message-ranges.ts";
import type { ClientStore } from "../store.ts";
import type { LogService } from "./log-reader.ts";

/** The entries of a conversation after `after`, up to `to`, were skipped. */
export interface Jump {
  readonly conversationId: string;
  readonly after: bigint;
  readonly to: bigint;
}

export interface ConversationLogsOptions {
  readonly clock: Clock;
  readonly messages: LogService;
  readonly store: ClientStore;
  /**
   * Start position of a device without a store: after the entries that the user's other devices
   * received, or at the first entry.
   */
  readonly history: "none" | "all";
  /** A conversation that is behind by more entries jumps to its end; absent: none does. */
  readonly jumpEntries?: number | undefined;
  /** The ranges of messages; they follow the logs. */
  readonly ranges: MessageRanges;
  /** Whether the entry is a send of this client that has no result yet. */
  readonly isOwn: (entry: Entry) => boolean;
  /**
   * Called with the next entry of a conversation, in order, once. Not called for this client's
   * sends.
   */
  readonly message: (entry: Entry) => void;
  /** Called when a conversation jumps to its end. */
  readonly jumped: (jump: Jump) => void;
  /** Makes the older messages of all conversations exact, at the end of a sync. */
  readonly makeExact: () => Promise<void>;
  /** Called with a conversation that is new or changed. */
  readonly conversation: (conversation: Conversation) => void;
  /**
   * Called when the log of a conversation has another epoch: its entries so far are void, and `message`
   * is called with those of the new log from the first one on.
   */
  readonly reset: (conversationId: string) => void;
  /** Called after entries arrived: the device has all entries up to `last`. */
  readonly arrived: (conversationId: string, last: bigint) => void;
  /** Random numbers from 0 to below 1, for the back-off of incomplete syncs. */
  readonly random?: () => number;
}
