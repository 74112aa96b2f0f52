import { WireWriter, writeVarint } from "#platform/wire.ts";
import type { Refusal } from "../conversations/refusal.ts";

/** Where a message is in the log. */
export interface Accepted {
  readonly conversationId: bigint;
  readonly sequence: number;
  readonly acceptedAtMs: number;
  readonly messageId: bigint;
}

/** What became of a send. Failed: nothing is known, it may be repeated. */
export type Outcome =
  | (Accepted & { readonly kind: "accepted" })
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "failed"; readonly error: unknown };

/** A send and what became of it. */
export interface Result {
  /** Empty when it could not be read. */
  readonly clientMessageId: string;
  readonly outcome: Outcome;
}

/** Four varints with their tags, and two tags with lengths, at most. */
const ACCEPTED_BYTES = 48;

/**
 * Encoded lucky.message.v1.SendResults, those of accepted sends written straight into one buffer:
 * there is one for every message. Throws what a failed send failed with.
 */
export function encodeResults(results: readonly Result[]): Uint8Array[] {
  let room = 0;
  for (const { clientMessageId, outcome } of results) {
    if (outcome.kind === "accepted") room += ACCEPTED_BYTES + clientMessageId.length;
  }
  const bytes = Buffer.allocUnsafe(room);
  let at = 0;
  return results.map(({ clientMessageId, outcome }) => {
    if (outcome.kind === "failed") throw outcome.error;
    if (outcome.kind === "refused") return encodeRefused(clientMessageId, outcome.refusal);
    const start = at;
    at = writeAccepted(bytes, at, { clientMessageId, accepted: outcome });
    return bytes.subarray(start, at);
  });
}

/** The key is of the contract's characters, so it is as long in bytes. Returns the offset after it. */
function writeAccepted(
  bytes: Buffer,
  from: number,
  { clientMessageId, accepted }: { clientMessageId: string; accepted: Accepted },
): number {
  let at = from;
  bytes[at++] = 0x0a;
  bytes[at++] = clientMessageId.length;
  at += bytes.write(clientMessageId, at, "latin1");
  bytes[at++] = 0x12;
  const lengthAt = at++;
  bytes[at++] = 0x08;
  at = writeVarint(bytes, at, accepted.conversationId);
  bytes[at++] = 0x10;
  at = writeVarint(bytes, at, accepted.sequence);
  bytes[at++] = 0x18;
  at = writeVarint(bytes, at, accepted.acceptedAtMs);
  bytes[at++] = 0x20;
  at = writeVarint(bytes, at, accepted.messageId);
  bytes[lengthAt] = at - lengthAt - 1;
  return at;
}

/** Encoded lucky.message.v1.SendResult of a refused send. */
function encodeRefused(clientMessageId: string, refused: Refusal): Uint8Array {
  const detail = new WireWriter(16).varint(1, refused.reason);
  if (refused.retryAfterMs > 0) detail.varint(2, refused.retryAfterMs);
  const inner = new WireWriter(64).bytes(1, detail.finish()).string(2, refused.text).finish();
  return new WireWriter(32 + clientMessageId.length * 3 + inner.length)
    .string(1, clientMessageId)
    .bytes(3, inner)
    .finish();
}
