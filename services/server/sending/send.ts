import type { SendRequest } from "#gen/lucky/message/v1/message_pb.js";
import type { Refusal } from "../conversations/refusal.ts";

/** A send that may go on: read once, its bytes kept for the log. */
export interface Send {
  readonly senderId: string;
  /** The session that sent it; empty for none. */
  readonly sessionId: string;
  readonly target: SendRequest["target"];
  readonly clientMessageId: string;
  /** Field number of the content's kind. */
  readonly kind: number;
  /** Fields 6 and 10 of Entry, as the sender encoded them. */
  readonly fields: Uint8Array;
  /** Where the bytes of client_message_id lie in `fields`. */
  readonly keyStart: number;
  readonly keyLength: number;
}

/** A send as it came. */
export interface RawSend {
  readonly senderId: string;
  readonly sessionId: string;
  /** Encoded SendRequest. */
  readonly send: Uint8Array;
}

/** Why a send cannot be taken, with its client_message_id as far as it is known. */
export interface RejectedSend {
  readonly clientMessageId: string;
  readonly refusal: Refusal;
  /** For the log: what went wrong here, when it is not the send. */
  readonly fault?: unknown;
}

/** No tag: there is one for every message, and `refusal` tells. */
export type ReadResult = Send | RejectedSend;
