import { HelloSchema, RenewSchema, RpcSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { AcknowledgeRequestSchema, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { SendTypingRequestSchema } from "#gen/lucky/presence/v1/presence_pb.js";
import { type FieldCounter, fieldCounter, MAX_FIELDS } from "#platform/validation/field-count.ts";
import { WireError } from "#platform/wire.ts";
import type { ClientKind } from "../socket/frames.ts";

/**
 * The fields of sends up to this size, which nearly all sends have, are not counted: they are too few
 * to matter. The count of a larger send with plain text takes 0.3 µs.
 */
const UNCOUNTED_SEND_BYTES = 256;

const counters: ReadonlyMap<ClientKind, FieldCounter> = new Map([
  ["hello", fieldCounter(HelloSchema)],
  ["send", fieldCounter(SendRequestSchema)],
  ["acknowledge", fieldCounter(AcknowledgeRequestSchema)],
  ["typing", fieldCounter(SendTypingRequestSchema)],
  ["rpc", fieldCounter(RpcSchema)],
  ["renew", fieldCounter(RenewSchema)],
]);

/**
 * Number of fields in the body of a frame; stops above MAX_FIELDS. 0 for kinds whose body is not
 * decoded, and for small sends. The request in an Rpc counts as one field: its method counts it.
 * Throws WireError for a malformed body. A malformed send counts as MAX_FIELDS instead, because server
 * refuses it with a result.
 */
export function fieldsOf(kind: ClientKind, body: Uint8Array): number {
  if (kind === "send" && body.length <= UNCOUNTED_SEND_BYTES) return 0;
  try {
    return counters.get(kind)?.(body, MAX_FIELDS) ?? 0;
  } catch (error) {
    if (kind === "send" && error instanceof WireError) return MAX_FIELDS;
    throw error;
  }
}
