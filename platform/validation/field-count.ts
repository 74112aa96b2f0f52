import type { DescMessage } from "@bufbuild/protobuf";
import { BYTES, FIXED32, FIXED64, FieldReader, WireError } from "#platform/wire.ts";
import { MAX_DEPTH, shapeOf } from "./well-formed.ts";

/**
 * Maximum fields of a send and of a frame, at all depths. A send of fifty parts with all their fields
 * has less than half as many.
 */
export const MAX_FIELDS = 2_000;

/**
 * Number of fields and items of packed lists in an encoded message, at all depths, unknown fields
 * included; stops above `max`. Throws WireError for bytes that are not a message.
 */
export type FieldCounter = (bytes: Uint8Array, max: number) => number;

/**
 * Creates a counter of the fields of a message. It runs before the message is decoded, because a
 * decoder allocates an object per field; the counter allocates nothing per field. Supports the
 * messages of `shapeOf`.
 */
export function fieldCounter(desc: DescMessage): FieldCounter {
  // The messages around the reader, the outermost first, and their ends. Each count overwrites them:
  // new arrays would take a fifth of the time of a small message.
  const shapes = [shapeOf(desc)];
  const ends = [0];
  return (bytes, max) => {
    const reader = new FieldReader(bytes);
    ends[0] = bytes.length;
    let depth = 0;
    let count = 0;
    while (count <= max) {
      while (reader.end >= ends[depth]!) {
        if (reader.end > ends[depth]!) throw new WireError("a field goes past its message");
        if (depth === 0) return count;
        depth--;
      }
      reader.next();
      count++;
      const known = shapes[depth]!.get(reader.fieldNumber);
      if (known === undefined || reader.wireType !== BYTES) continue;
      if (known.inner !== undefined) {
        depth++;
        if (depth === MAX_DEPTH) throw new WireError("messages are nested too deeply");
        shapes[depth] = known.inner;
        ends[depth] = reader.end;
        // The reader goes on with the fields of the inner message.
        reader.end = reader.start;
      } else if (known.types.length === 2) {
        count += countPacked(known.types[0]!, bytes, reader);
      }
    }
    return count;
  };
}

/** Number of items in a packed list. */
function countPacked(
  type: number,
  bytes: Uint8Array,
  { start, end }: Pick<FieldReader, "start" | "end">,
): number {
  if (type === FIXED64) return (end - start) / 8;
  if (type === FIXED32) return (end - start) / 4;
  let count = 0;
  for (let at = start; at < end; at++) if (bytes[at]! < 0x80) count++;
  return count;
}
