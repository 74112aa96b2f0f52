import { create, equals, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Content } from "#gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema, MessageStateSchema } from "#gen/lucky/message/v1/entry_pb.js";
import { scan, WireWriter, writeVarint } from "#platform/wire.ts";
import type { Kind } from "./kinds.ts";
import type { StateRow } from "./states.ts";

/** Maximum size of a page, bytes of entries; a single entry may be larger. */
export const PAGE_BYTES = 1_048_576;
/** Maximum bytes that `writePrefix` writes. */
export const PREFIX_BYTES = 33;
/** Maximum bytes that `tail` returns. */
export const TAIL_BYTES = 22;

/** Lowest field number of Entry that the sender writes. */
const FIRST_SENDER_FIELD = 6;
/** Lowest field number of the flags, which only the server writes. */
const FIRST_FLAG = EntrySchema.field.notShown.number;

const CONVERSATION_ID_TAG = 0x08;
const SEQUENCE_TAG = 0x10;
const ACCEPTED_AT_TAG = 0x18;
const MESSAGE_ID_TAG = 0x20;
const SENDER_ID_TAG = 0x28;

export interface Prefix {
  readonly conversationId: bigint;
  readonly messageId: bigint;
  readonly senderId: bigint;
}

/**
 * Writes the fields of an entry that the server knows before the append; returns the offset after
 * them.
 */
export function writePrefix(into: Uint8Array, from: number, prefix: Prefix): number {
  let at = from;
  into[at++] = CONVERSATION_ID_TAG;
  at = writeVarint(into, at, prefix.conversationId);
  into[at++] = MESSAGE_ID_TAG;
  at = writeVarint(into, at, prefix.messageId);
  into[at++] = SENDER_ID_TAG;
  return writeVarint(into, at, prefix.senderId);
}

/** Encodes the fields of an entry that the database assigns; they follow the entry's body. */
export function tail(sequence: number, acceptedAtMs: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(TAIL_BYTES);
  bytes[0] = SEQUENCE_TAG;
  let at = writeVarint(bytes, 1, sequence);
  bytes[at++] = ACCEPTED_AT_TAG;
  at = writeVarint(bytes, at, acceptedAtMs);
  return bytes.subarray(0, at);
}

/** A row of im.entry with its state. `bigint` columns are decimal strings. */
export interface EntryRow extends StateRow {
  readonly sequence: string;
  readonly accepted_at_ms: string;
  readonly body: Buffer;
}

/** Encodes a row as lucky.message.v1.Entry. */
export function wholeEntry(row: EntryRow): Uint8Array {
  if (row.state != null || row.deleted) return toBinary(EntrySchema, entryOf(row));
  return Buffer.concat([row.body, tail(Number(row.sequence), Number(row.accepted_at_ms))]);
}

/** Decodes a row as an Entry, with its state. */
export function entryOf(row: EntryRow): Entry {
  const entry = fromBinary(EntrySchema, row.deleted ? withoutSenderFields(row.body) : row.body);
  entry.sequence = BigInt(row.sequence);
  entry.acceptedAtMs = BigInt(row.accepted_at_ms);
  if (row.state == null && !row.deleted) return entry;
  entry.state = fromBinary(MessageStateSchema, row.state ?? new Uint8Array(0));
  // A recall after the user left: the reason is for the members.
  if (row.is_later && entry.state.recalled) entry.state.recalled.reason = "";
  entry.state.myReactions = [...(row.my_reactions ?? [])];
  entry.state.deletedForMe = row.deleted ?? false;
  return entry;
}

/**
 * The body of an entry without its content and all that belongs to it. The client_message_id stays: the
 * device that sent it recognises it by that. So do the flags of its kind.
 */
export function withoutSenderFields(body: Uint8Array): Uint8Array {
  const parts = scan(body)
    .filter(([number]) => number <= FIRST_SENDER_FIELD || number >= FIRST_FLAG)
    .map(([, , , end, tagStart]) => body.subarray(tagStart, end));
  return Buffer.concat(parts);
}

/**
 * The flags of an entry for clients that do not know its kind. A kind that devices may send has none,
 * so that the bodies of their entries are the bytes of their sends.
 */
export function flagsOf({ shown, countable }: Pick<Kind, "shown" | "countable">) {
  return { notShown: !shown, notCounted: !countable };
}

/**
 * Encodes the body of an entry that the server itself writes. All deliveries and reads of the entry
 * copy its body, and with it the flags of its kind.
 */
export function bodyOf(
  prefix: Prefix,
  content: Content,
  { kind, clientMessageId = "" }: { kind: Kind; clientMessageId?: string },
): Buffer {
  const entry = create(EntrySchema, { clientMessageId, content, ...flagsOf(kind) });
  const fields = toBinary(EntrySchema, entry);
  const start = Buffer.allocUnsafe(PREFIX_BYTES);
  return new WireWriter(PREFIX_BYTES + fields.length)
    .raw(start.subarray(0, writePrefix(start, 0, prefix)))
    .raw(fields)
    .finish();
}

/**
 * Whether a duplicate send equals the stored body: compares the bytes first, then the decoded fields.
 */
export function isSameSend(body: Uint8Array, fields: Uint8Array): boolean {
  const first = scan(body).find(([number]) => number >= FIRST_SENDER_FIELD);
  const stored = first === undefined ? new Uint8Array(0) : body.subarray(first[4]);
  if (Buffer.compare(stored, fields) === 0) return true;
  return equals(EntrySchema, fromBinary(EntrySchema, stored), fromBinary(EntrySchema, fields));
}
