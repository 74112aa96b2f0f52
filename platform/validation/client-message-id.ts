import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { patternOf } from "./constraints.ts";

// The hot paths read a client_message_id as bytes, without a regular expression. Both the table and
// the length are derived from the pattern of the contract.

const pattern = patternOf(SendRequestSchema.field.clientMessageId);

/** By byte: 1 for a character that a client_message_id may contain, else 0. */
export const CLIENT_MESSAGE_ID_BYTES: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  Number(pattern.test(String.fromCharCode(byte))),
);

/** Longest client_message_id, bytes. Every allowed character is ASCII: one byte each. */
export const MAX_CLIENT_MESSAGE_ID_BYTES = longest(CLIENT_MESSAGE_ID_BYTES.indexOf(1));

function longest(byte: number): number {
  const character = String.fromCharCode(byte);
  let length = 1;
  while (length < 1_000 && pattern.test(character.repeat(length + 1))) length++;
  return length;
}
