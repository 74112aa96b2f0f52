import type { SendRequest } from "#gen/lucky/message/v1/message_pb.js";
import type { Mentions } from "../conversations/mentions.ts";
import type { Refusal } from "../conversations/refusal.ts";

/** A valid send: decoded once, with the encoded fields for the log. */
export interface Send {
  readonly senderId: string;
  /** Session of the sender; empty for none. */
  readonly sessionId: string;
  readonly target: SendRequest["target"];
  readonly clientMessageId: string;
  /** Field number of the content's kind. */
  readonly kind: number;
  /** Fields 6 and 10 to 15 of Entry, as the sender encoded them; 6, 9 and 10 of a forward. */
  readonly fields: Uint8Array;
  /** Offset and length of client_message_id in `fields`, bytes. */
  readonly keyStart: number;
  readonly keyLength: number;
  /** Sequence of the message that it replies to; undefined for none. */
  readonly replyTo: bigint | undefined;
  /** Undefined when the text mentions nobody. */
  readonly mentions: Mentions | undefined;
  /** The forwarded original; undefined for other sends. */
  readonly forwarded: Forwarded | undefined;
}

/**
 * The source of a forward: one original, or several that are merged. It identifies a retry, because the
 * content of the originals may have changed meanwhile. The message_id of an original is undefined when
 * it is not known any more.
 */
export type Forwarded =
  | { readonly kind: "original"; readonly messageId: string | undefined }
  | { readonly kind: "merged" };

/** A send before it is read. */
export interface RawSend {
  readonly senderId: string;
  readonly sessionId: string;
  /** Encoded SendRequest. */
  readonly send: Uint8Array;
  /** The same request when its call was decoded and validated already; absent: it is not yet. */
  readonly request?: SendRequest;
}

/** An invalid send. Its client_message_id is empty when it could not be read. */
export interface RejectedSend {
  readonly clientMessageId: string;
  readonly refusal: Refusal;
  /** Error of the server itself, for the log; undefined when the send is at fault. */
  readonly fault?: unknown;
}

/** Untagged, because each message has one: only a RejectedSend has `refusal`. */
export type ReadResult = Send | RejectedSend;
