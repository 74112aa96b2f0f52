/**
 * The client_message_id of a message of the bench: 29 ASCII characters, "time-user-number" in hexadecimal
 * digits. It begins with the time, so that keys grow like UUIDv7 and the database's index stays cached. It
 * contains sender, number and time, so the generator needs no table of messages in flight.
 */
export const KEY_BYTES = 29;

/** Parts of a key. One object is reused for all messages, to avoid garbage. */
export interface MessageKey {
  /** When the message was due, microseconds since the Unix epoch. */
  timeUs: number;
  /** Index of the sender among the users of the bench. */
  user: number;
  /** Number of the sender's message, from 0. */
  number: number;
}

/** Ends of the parts: five and eight digits of time, hyphen, user, hyphen, number. */
const HIGH_END = 5;
const TIME_END = 13;
const USER_END = 20;
const HYPHEN = "-".charCodeAt(0);
const NINE = "9".charCodeAt(0);
const DIGITS = Buffer.from("0123456789abcdef");

/** Writes a key; it takes KEY_BYTES bytes. */
export function writeKey(into: Uint8Array, at: number, key: Readonly<MessageKey>): void {
  writeHex(into, at, at + HIGH_END, Math.floor(key.timeUs / 2 ** 32));
  writeHex(into, at + HIGH_END, at + TIME_END, key.timeUs % 2 ** 32);
  into[at + TIME_END] = HYPHEN;
  writeHex(into, at + TIME_END + 1, at + USER_END, key.user);
  into[at + USER_END] = HYPHEN;
  writeHex(into, at + USER_END + 1, at + KEY_BYTES, key.number);
}

/** Reads the key at an offset into `key`; false, with `key` unchanged, when there is none. */
export function readKey(bytes: Uint8Array, at: number, key: MessageKey): boolean {
  if (bytes[at + TIME_END] !== HYPHEN || bytes[at + USER_END] !== HYPHEN) return false;
  const high = readHex(bytes, at, at + HIGH_END);
  key.timeUs = high * 2 ** 32 + readHex(bytes, at + HIGH_END, at + TIME_END);
  key.user = readHex(bytes, at + TIME_END + 1, at + USER_END);
  key.number = readHex(bytes, at + USER_END + 1, at + KEY_BYTES);
  return true;
}

/**
 * Writes the low 32 bits as hexadecimal digits, with leading zeros, at the offsets from `from` up to but not
 * including `to`.
 */
function writeHex(into: Uint8Array, from: number, to: number, value: number): void {
  let rest = value | 0;
  for (let at = to - 1; at >= from; at--) {
    into[at] = DIGITS[rest & 15]!;
    rest >>>= 4;
  }
}

function readHex(bytes: Uint8Array, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const code = bytes[at]!;
    value = (value << 4) | (code <= NINE ? code - 48 : code - 87);
  }
  return value >>> 0;
}
