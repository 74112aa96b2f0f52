import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { BYTES, FieldReader, WireError } from "#platform/wire.ts";

/**
 * Maximum fields of a send and of a frame, at all depths. A send of fifty parts with all their fields
 * has less than half as many.
 */
export const MAX_FIELDS = 2_000;

/** Messages and lists of numbers inside a message, by field number. */
type Shape = ReadonlyMap<number, Shape | "numbers">;

/** The bytes of a count, and the fields found so far. */
interface Count {
  readonly bytes: Uint8Array;
  fields: number;
}

/**
 * Creates a counter of the fields of an encoded message at all depths, unknown ones included. It
 * runs before the message is decoded, because a decoder allocates an object per field. Each number
 * of a packed list is a field. The count stops above `max`, and at malformed bytes, which the decoder
 * reports. Supports messages that do not contain themselves.
 */
export function fieldCounter(desc: DescMessage): (bytes: Uint8Array, max: number) => number {
  const shape = shapeOf(desc);
  return (bytes, max) => {
    const count = { bytes, fields: 0 };
    try {
      countInto(count, max, { shape, reader: new FieldReader(bytes) });
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
    return count.fields;
  };
}

function countInto(
  count: Count,
  max: number,
  { shape, reader }: { readonly shape: Shape; readonly reader: FieldReader },
): void {
  while (count.fields <= max && reader.next()) {
    const { fieldNumber, wireType, start, end } = reader;
    const inner = wireType === BYTES ? shape.get(fieldNumber) : undefined;
    if (inner === "numbers") {
      for (let at = start; at < end; at += 1) if (count.bytes[at]! < 0x80) count.fields += 1;
      continue;
    }
    count.fields += 1;
    if (inner === undefined) continue;
    countInto(count, max, { shape: inner, reader: new FieldReader(count.bytes, start, end) });
  }
}

function shapeOf(desc: DescMessage): Shape {
  const shape = new Map<number, Shape | "numbers">();
  for (const field of desc.fields) {
    if (field.message !== undefined) shape.set(field.number, shapeOf(field.message));
    else if (isPackable(field)) shape.set(field.number, "numbers");
  }
  return shape;
}

/** Whether an encoder may write the list as one field. Its numbers are varints in this contract. */
function isPackable(field: DescField): boolean {
  return field.fieldKind === "list" && field.listKind !== "message" && field.packed;
}
