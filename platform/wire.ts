/**
 * Encoder and decoder of the protobuf wire format, for the few places that pass bytes on without
 * decoding them: tags, varints, and messages assembled from encoded parts.
 */

/** Encoding of a field's value. Groups (3 and 4) are refused. */
export type WireType = 0 | 1 | 2 | 5;

/** Variable length integer. */
export const VARINT = 0;
/** Eight bytes. */
export const FIXED64 = 1;
/** A length, followed by that many bytes: strings, bytes, messages. */
export const BYTES = 2;
/** Four bytes. */
export const FIXED32 = 5;

/**
 * One field of an encoded message: its number, its wire type, start and end of its value (for BYTES
 * without the length), and start of its tag. Offsets into the scanned bytes.
 */
export type Field = readonly [
  fieldNumber: number,
  wireType: WireType,
  start: number,
  end: number,
  tagStart: number,
];

/** The bytes are not a valid protobuf message. */
export class WireError extends Error {
  override name = "WireError";
}

/**
 * Iterates over the fields of an encoded message in their order; `from` and `to` delimit a message
 * inside other bytes. It is as strict as the strictest of the common decoders, so that all of them
 * accept a message that it accepts. After `next`, the members describe the current field, as in
 * `Field`.
 */
export class FieldReader {
  fieldNumber = 0;
  wireType: WireType = VARINT;
  start = 0;
  end: number;
  tagStart = 0;
  readonly #bytes: Uint8Array;
  readonly #to: number;

  constructor(bytes: Uint8Array, from = 0, to = bytes.length) {
    this.#bytes = bytes;
    this.end = from;
    this.#to = to;
  }

  /** Advances to the next field; false at the end. Throws WireError. */
  next(): boolean {
    const bytes = this.#bytes;
    let at = this.end;
    if (at >= this.#to) return false;
    this.tagStart = at;
    const tag = readVarint(bytes, at);
    at += varintLength(bytes, at);
    if (at - this.tagStart > 5) throw new WireError("a tag is too long");
    this.fieldNumber = Math.floor(tag / 8);
    if (this.fieldNumber < 1 || this.fieldNumber > 0x1fffffff) {
      throw new WireError("no such field number");
    }
    const wireType = tag % 8;
    this.start = at;
    if (wireType === VARINT) {
      at += varintLength(bytes, at);
    } else if (wireType === BYTES) {
      const length = readVarint(bytes, at);
      this.start = at + varintLength(bytes, at);
      if (this.start - at > 5) throw new WireError("a length is too long");
      at = this.start + length;
    } else if (wireType === FIXED64) {
      at += 8;
    } else if (wireType === FIXED32) {
      at += 4;
    } else {
      throw new WireError(`wire type ${wireType} is not supported`);
    }
    if (at > this.#to) throw new WireError("a field goes past the end");
    this.wireType = wireType;
    this.end = at;
    return true;
  }
}

/** All fields of an encoded message, see `FieldReader`. Throws WireError. */
export function scan(bytes: Uint8Array, from = 0, to = bytes.length): Field[] {
  const fields: Field[] = [];
  const reader = new FieldReader(bytes, from, to);
  while (reader.next()) {
    const { fieldNumber, wireType, start, end, tagStart } = reader;
    fields.push([fieldNumber, wireType, start, end, tagStart]);
  }
  return fields;
}

/**
 * Reads an unsigned varint up to 2^53 - 1. Throws WireError when it is truncated or larger. Ids are
 * larger: read them with `readVarint64`.
 */
export function readVarint(bytes: Uint8Array, at: number): number {
  let value = 0;
  let scale = 1;
  for (let i = at; ; i++) {
    const byte = bytes[i];
    if (byte === undefined) throw new WireError("a varint is truncated");
    value += (byte & 0x7f) * scale;
    if (value > Number.MAX_SAFE_INTEGER) throw new WireError("a varint is too large");
    if (byte < 0x80) return value;
    if (i - at === 9) throw new WireError("a varint is too long");
    scale *= 128;
  }
}

// A bigint is a heap object, and each arithmetic operation allocates another one. So 64 bits are
// assembled and split in two 32-bit halves (measured: a third of the time, a twentieth of the
// garbage).
const long = new BigUint64Array(1);
const halves = new Uint32Array(long.buffer);
const [LOW, HIGH] = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? [0, 1] : [1, 0];

/** Reads a varint as an unsigned 64-bit integer. Throws WireError. */
export function readVarint64(bytes: Uint8Array, at: number): bigint {
  const length = varintLength(bytes, at);
  let low = 0;
  let high = 0;
  for (let i = 0; i < length; i++) {
    const bits = bytes[at + i]! & 0x7f;
    const shift = i * 7;
    if (shift < 32) low |= bits << shift;
    if (shift > 28) high |= bits << (shift - 32);
    else if (shift === 28) high |= bits >>> 4;
  }
  halves[LOW] = low;
  halves[HIGH] = high;
  return long[0]!;
}

/** Length in bytes of the varint at an offset, 1 to 10. Throws WireError. */
export function varintLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 10; length++) {
    const byte = bytes[at + length - 1];
    if (byte === undefined) throw new WireError("a varint is truncated");
    if (byte < 0x80) return length;
  }
  throw new WireError("a varint is too long");
}

function halve(value: number | bigint): void {
  if (typeof value === "bigint") {
    long[0] = value;
  } else {
    halves[LOW] = value;
    halves[HIGH] = value / 0x100000000;
  }
}

/** Length in bytes of a value as a varint: a non-negative safe integer, or 64 bits. */
export function varintSize(value: number | bigint): number {
  halve(value);
  const high = halves[HIGH]!;
  const bits = high === 0 ? 32 - Math.clz32(halves[LOW]!) : 64 - Math.clz32(high);
  return Math.max(1, Math.ceil(bits / 7));
}

/**
 * Writes a varint: a non-negative safe integer, or 64 bits as a bigint. Returns the offset after
 * it. The caller provides the space: at most 10 bytes.
 */
export function writeVarint(into: Uint8Array, at: number, value: number | bigint): number {
  halve(value);
  let low = halves[LOW]!;
  let high = halves[HIGH]!;
  while (high > 0) {
    into[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  while (low > 0x7f) {
    into[at++] = (low & 0x7f) | 0x80;
    low >>>= 7;
  }
  into[at++] = low;
  return at;
}

/** The tag of a field, to be written as a varint. */
export function tagOf(fieldNumber: number, wireType: WireType): number {
  return fieldNumber * 8 + wireType;
}

/**
 * Assembles a message field by field in one growing buffer. `finish` returns that buffer without a
 * copy, so nothing may be written after it.
 */
export class WireWriter {
  #buffer: Buffer;
  #at = 0;

  constructor(sizeHint = 256) {
    this.#buffer = Buffer.allocUnsafe(sizeHint);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  /** A varint field: int64, int32 (not negative), bool, enum. */
  varint(fieldNumber: number, value: number | bigint): this {
    this.#reserve(15);
    this.#at = writeVarint(this.#buffer, this.#at, tagOf(fieldNumber, VARINT));
    this.#at = writeVarint(this.#buffer, this.#at, value);
    return this;
  }

  /** A field of bytes, or of an encoded message. */
  bytes(fieldNumber: number, value: Uint8Array): this {
    this.header(fieldNumber, value.length);
    return this.raw(value);
  }

  /** The tag and length of a field; the caller writes its bytes next, by `raw`. */
  header(fieldNumber: number, length: number): this {
    this.#reserve(15);
    this.#at = writeVarint(this.#buffer, this.#at, tagOf(fieldNumber, BYTES));
    this.#at = writeVarint(this.#buffer, this.#at, length);
    return this;
  }

  /** A string field. */
  string(fieldNumber: number, value: string): this {
    const most = value.length * 3;
    this.#reserve(15 + most);
    this.#at = writeVarint(this.#buffer, this.#at, tagOf(fieldNumber, BYTES));
    if (most < 0x80) {
      this.#buffer[this.#at] = this.#buffer.write(value, this.#at + 1, "utf8");
      this.#at += 1 + this.#buffer[this.#at]!;
      return this;
    }
    this.#at = writeVarint(this.#buffer, this.#at, Buffer.byteLength(value));
    this.#at += this.#buffer.write(value, this.#at, "utf8");
    return this;
  }

  /** Encoded fields, including their tags. */
  raw(fields: Uint8Array): this {
    this.#reserve(fields.length);
    this.#buffer.set(fields, this.#at);
    this.#at += fields.length;
    return this;
  }

  /** The message. */
  finish(): Buffer<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#at) as Buffer<ArrayBuffer>;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
  }
}
