const INT2 = 21;
const INT4 = 23;
const INT8 = 20;

/**
 * Array parameters in PostgreSQL's binary format: the driver passes a Buffer on as it is, and the
 * database need not parse text. Declare the type in the statement, as in `$1::bigint[]`.
 */
function begin(type: number, count: number, elementBytes: number): Buffer {
  if (count === 0) {
    const empty = Buffer.alloc(12);
    empty.writeInt32BE(type, 8);
    return empty;
  }
  const array = Buffer.allocUnsafe(20 + count * (4 + elementBytes));
  array.writeInt32BE(1, 0); // dimensions
  array.writeInt32BE(0, 4); // no nulls
  array.writeInt32BE(type, 8);
  array.writeInt32BE(count, 12);
  array.writeInt32BE(1, 16); // first index
  return array;
}

/** `bigint[]` of ids, as decimal strings or bigints. */
export function bigints(values: readonly (string | bigint | number)[]): Buffer {
  const array = begin(INT8, values.length, 8);
  let at = 20;
  for (const value of values) {
    array.writeInt32BE(8, at);
    array.writeBigInt64BE(typeof value === "bigint" ? value : BigInt(value), at + 4);
    at += 12;
  }
  return array;
}

/** `integer[]`. */
export function integers(values: readonly number[]): Buffer {
  const array = begin(INT4, values.length, 4);
  let at = 20;
  for (const value of values) {
    array.writeInt32BE(4, at);
    array.writeInt32BE(value, at + 4);
    at += 8;
  }
  return array;
}

/** `smallint[]`. */
export function smallints(values: readonly number[]): Buffer {
  const array = begin(INT2, values.length, 2);
  let at = 20;
  for (const value of values) {
    array.writeInt32BE(2, at);
    array.writeInt16BE(value, at + 4);
    at += 6;
  }
  return array;
}
