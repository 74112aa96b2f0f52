/**
 * One line of a history: something that a client did or observed, in the order of time. A client is
 * one installation: a device that starts empty is a new client. All ids are decimal strings.
 */
export type HistoryEvent =
  | SendEvent
  | SentEvent
  | ConversationEvent
  | EntryEvent
  | CursorEvent
  | JumpEvent
  | FaultEvent
  | QuietEvent;

/** A client sends a message. A retry is a new operation with the same key. */
export interface SendEvent {
  readonly kind: "send";
  /** Number of the operation, which its `sent` repeats. */
  readonly op: number;
  readonly client: string;
  readonly user: string;
  /** The other user of a direct conversation, or a conversation. */
  readonly to: { readonly user: string } | { readonly conversation: string };
  /** The client_message_id. */
  readonly key: string;
  /** Hash of the content; empty when the message was recalled before: then any content is accepted. */
  readonly hash: string;
}

/** The answer to a send. Without one, and after `unknown`, the message may be stored or not. */
export type SentEvent = { readonly kind: "sent"; readonly op: number } & (
  | {
      readonly outcome: "accepted";
      readonly conversation: string;
      readonly sequence: number;
      readonly message: string;
    }
  | { readonly outcome: "refused"; readonly reason: string }
  | { readonly outcome: "unknown" }
);

/** A client learns of a direct conversation. */
export interface ConversationEvent {
  readonly kind: "conversation";
  readonly client: string;
  readonly user: string;
  readonly conversation: string;
  /** The other user. */
  readonly peer: string;
}

/** A client shows an entry that it had not shown before. */
export interface EntryEvent {
  readonly kind: "entry";
  readonly client: string;
  readonly user: string;
  readonly conversation: string;
  readonly sequence: number;
  readonly sender: string;
  /** The client_message_id; empty for an entry of the server. */
  readonly key: string;
  readonly message: string;
  /** Hash of the content; empty when the content may have changed since the send, and for a change. */
  readonly hash: string;
  /** Whether the server pushed the entry, or the client asked for it. */
  readonly via: "push" | "page";
  /** Users who joined with this entry. */
  readonly joined?: readonly string[];
  /** Users who left with this entry. */
  readonly left?: readonly string[];
}

/** A client keeps a new cursor of Sync. */
export interface CursorEvent {
  readonly kind: "cursor";
  readonly client: string;
  readonly user: string;
  readonly cursor: string;
  /** Whether more pages follow. */
  readonly more: boolean;
}

/** A client skips entries of a conversation: from here on it may lack some. */
export interface JumpEvent {
  readonly kind: "jump";
  readonly client: string;
  readonly conversation: string;
}

/** Deliveries may be lost or late from here on until the next `quiet`. */
export interface FaultEvent {
  readonly kind: "fault";
  readonly name: string;
}

/** All faults are repaired, all sends answered, and these clients have caught up with the log. */
export interface QuietEvent {
  readonly kind: "quiet";
  readonly clients: readonly { readonly client: string; readonly user: string }[];
}
