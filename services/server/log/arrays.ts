import { INT8 } from "#platform/postgres/pool.ts";

const INT2 = 21;
const INT4 = 23;

const HEAD_BYTES = 20;

/**
 * Starts an array parameter in PostgreSQL's binary format. The driver passes a Buffer through
 * unchanged, and the database need not parse text. Values out of range wrap silently: callers pass
 * checked values. The statement must declare the type, as in `$1::bigint[]`.
 */
function arrayHeader(type: number, count: number, elementBytes: number): DataView {
  const room = count === 0 ? 12 : HEAD_BYTES + count * (4 + elementBytes);
  const bytes = Buffer.allocUnsafe(room);
  // V8 compiles the setters of DataView to single instructions, but the setters of Buffer to calls.
  const array = new DataView(bytes.buffer, bytes.byteOffset, room);
  array.setInt32(0, count === 0 ? 0 : 1); // dimensions
  array.setInt32(4, 0); // no nulls
  array.setInt32(8, type);
  if (count === 0) return array;
  array.setInt32(12, count);
  array.setInt32(16, 1); // first index
  return array;
}

function bytesOf({ buffer, byteOffset, byteLength }: DataView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** `bigint[]` of ids, as decimal strings or bigints. */
export function bigints(values: readonly (string | bigint | number)[]): Buffer {
  const array = arrayHeader(INT8, values.length, 8);
  let at = HEAD_BYTES;
  for (const value of values) {
    array.setInt32(at, 8);
    array.setBigInt64(at + 4, typeof value === "bigint" ? value : BigInt(value));
    at += 12;
  }
  return bytesOf(array);
}

/** `integer[]`. */
export function integers(values: readonly number[]): Buffer {
  const array = arrayHeader(INT4, values.length, 4);
  let at = HEAD_BYTES;
  for (const value of values) {
    array.setInt32(at, 4);
    array.setInt32(at + 4, value);
    at += 8;
  }
  return bytesOf(array);
}

/** `smallint[]`. */
export function smallints(values: readonly number[]): Buffer {
  const array = arrayHeader(INT2, values.length, 2);
  let at = HEAD_BYTES;
  for (const value of values) {
    array.setInt32(at, 2);
    array.setInt16(at + 4, value);
    at += 6;
  }
  return bytesOf(array);
}
