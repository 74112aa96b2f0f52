import type { ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { detailOf, fail } from "../../platform/errors.ts";
import { WireWriter } from "../../platform/wire.ts";

/** Why a send was not stored. */
export interface Refusal {
  readonly reason: ErrorReason;
  /** For developers. */
  readonly text: string;
  /** 0 when repeating does not help. */
  readonly retryAfterMs: number;
}

/** Where a message is in the log. */
export interface Accepted {
  readonly conversationId: string;
  readonly sequence: number;
  readonly acceptedAtMs: number;
  readonly messageId: string;
}

/** What became of a send. Failed: nothing is known, it may be repeated. */
export type Outcome =
  | { readonly kind: "accepted"; readonly accepted: Accepted }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "failed"; readonly error: unknown };

export function refusal(reason: ErrorReason, text: string, retryAfterMs = 0): Refusal {
  return { reason, text, retryAfterMs };
}

/** The refusal as an error, for a call of its own. */
export function refusalError({ reason, text, retryAfterMs }: Refusal): ConnectError {
  return fail(reason, text, { retryAfterMs });
}

/** An error of the contract as the refusal of one send that was not tried. */
export function refusalOf(error: unknown): Refusal | undefined {
  const detail = detailOf(error);
  if (detail === undefined || detail.reason === ErrorReason.INTERNAL) return undefined;
  const text = (error as ConnectError).rawMessage;
  return refusal(detail.reason, text, Number(detail.retryAfterMs));
}

/** Encoded lucky.message.v1.SendResult of an accepted send. */
export function encodeAccepted(clientMessageId: string, accepted: Accepted): Uint8Array {
  const inner = new WireWriter(48)
    .varint(1, BigInt(accepted.conversationId))
    .varint(2, accepted.sequence)
    .varint(3, accepted.acceptedAtMs)
    .varint(4, BigInt(accepted.messageId))
    .finish();
  return new WireWriter(32 + clientMessageId.length * 3 + inner.length)
    .string(1, clientMessageId)
    .bytes(2, inner)
    .finish();
}

/** Encoded lucky.message.v1.SendResult of a refused send. */
export function encodeRefused(clientMessageId: string, refused: Refusal): Uint8Array {
  const detail = new WireWriter(16).varint(1, refused.reason);
  if (refused.retryAfterMs > 0) detail.varint(2, refused.retryAfterMs);
  const inner = new WireWriter(64).bytes(1, detail.finish()).string(2, refused.text).finish();
  return new WireWriter(32 + clientMessageId.length * 3 + inner.length)
    .string(1, clientMessageId)
    .bytes(3, inner)
    .finish();
}
