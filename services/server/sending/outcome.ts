import { WireWriter, writeVarint } from "#platform/wire.ts";
import type { Refusal } from "../conversations/refusal.ts";

/** Position of a message in the log. */
export interface Accepted {
  readonly conversationId: bigint;
  readonly sequence: number;
  readonly acceptedAtMs: number;
  readonly messageId: bigint;
}

/** Outcome of a send. failed: the send may be stored or not, and can be retried. */
export type Outcome =
  | (Accepted & { readonly kind: "accepted" })
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "failed"; readonly error: unknown };

/** Outcome of a send, with its key. */
export interface Result {
  /** Empty when the send could not be read. */
  readonly clientMessageId: string;
  readonly outcome: Outcome;
}

const NO_BYTES = new Uint8Array(0);

/** Upper bound: four varints with their tags, and two tags with lengths. */
const ACCEPTED_BYTES = 48;

/**
 * Encodes results as lucky.message.v1.SendResult, one each, in their order. Results of accepted
 * sends share one buffer, because each message has one. A failed send is empty; when no send was
 * accepted, the error of the first failed one is thrown: then the caller can repeat the whole call.
 */
export function encodeResults(results: readonly Result[]): Uint8Array[] {
  let room = 0;
  for (const { clientMessageId, outcome } of results) {
    if (outcome.kind === "accepted") room += ACCEPTED_BYTES + clientMessageId.length;
  }
  const bytes = Buffer.allocUnsafe(room);
  let at = 0;
  if (room === 0) throwFailed(results);
  return results.map(({ clientMessageId, outcome }) => {
    if (outcome.kind === "failed") return NO_BYTES;
    if (outcome.kind === "refused") return encodeRefused(clientMessageId, outcome.refusal);
    const start = at;
    at = writeAccepted(bytes, at, { clientMessageId, accepted: outcome });
    return bytes.subarray(start, at);
  });
}

function throwFailed(results: readonly Result[]): void {
  for (const { outcome } of results) if (outcome.kind === "failed") throw outcome.error;
}

/**
 * Returns the offset after the result. The key has ASCII characters only, so its length in bytes is
 * its length.
 */
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

/** Encodes the lucky.message.v1.SendResult of a refused send. */
function encodeRefused(clientMessageId: string, refused: Refusal): Uint8Array {
  const detail = new WireWriter(16 + refused.field.length * 3).varint(1, refused.reason);
  if (refused.retryAfterMs > 0) detail.varint(2, refused.retryAfterMs);
  if (refused.field !== "") detail.string(3, refused.field);
  const inner = new WireWriter(64).bytes(1, detail.finish()).string(2, refused.text).finish();
  return new WireWriter(32 + clientMessageId.length * 3 + inner.length)
    .string(1, clientMessageId)
    .bytes(3, inner)
    .finish();
}
