import type { DescMessage } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { BYTES, FIXED32, FIXED64, FieldReader, WireError } from "#platform/wire.ts";
import { type Shape, shapeOf } from "./well-formed.ts";

/** Messages inside each other beyond which a request is refused, as by the decoder. */
const MAX_DEPTH = 100;

/** An encoded request. */
export interface EncodedRequest {
  readonly schema: DescMessage;
  readonly bytes: Uint8Array;
  /** JSON instead of the wire format of protobuf. */
  readonly json: boolean;
}

/**
 * Refuses a request with more than `maxItems` fields and items of lists, at all depths together, or
 * values of JSON. It counts them without decoding: a decoded message takes up to a hundred times the
 * memory and the time of its bytes. Throws INVALID_ARGUMENT.
 */
export type RequestBound = (request: EncodedRequest, maxItems: number) => void;

export function createRequestBound(): RequestBound {
  const shapes = new Map<DescMessage, Shape>();

  function shapeFor(schema: DescMessage): Shape {
    let shape = shapes.get(schema);
    if (shape === undefined) {
      shape = shapeOf(schema);
      shapes.set(schema, shape);
    }
    return shape;
  }

  function exceeds({ schema, bytes, json }: EncodedRequest, maxItems: number): boolean {
    // Every item takes a byte at least.
    if (bytes.length <= maxItems) return false;
    if (json) return countJson(bytes, maxItems) > maxItems;
    try {
      return countFields(shapeFor(schema), bytes, maxItems) > maxItems;
    } catch (cause) {
      if (!(cause instanceof WireError)) throw cause;
      throw fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${schema.typeName}`, {
        cause,
      });
    }
  }

  return (request, maxItems) => {
    if (!exceeds(request, maxItems)) return;
    const why = `the request has more than ${maxItems} fields and items of lists`;
    throw fail(ErrorReason.INVALID_ARGUMENT, why);
  };
}

/**
 * Number of fields and items of packed lists, at all depths; stops beyond `max`. Allocates nothing
 * per field. Throws WireError for bytes that are not a message.
 */
export function countFields(shape: Shape, bytes: Uint8Array, max: number): number {
  const reader = new FieldReader(bytes);
  // The messages around the reader, the outermost first, and their ends.
  const shapes = [shape];
  const ends = [bytes.length];
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
      if (depth > MAX_DEPTH) throw new WireError("messages are nested too deeply");
      shapes[depth] = known.inner;
      ends[depth] = reader.end;
      // The reader goes on with the fields of the inner message.
      reader.end = reader.start;
    } else if (known.types.length === 2) {
      count += countPacked(known.types[0]!, bytes, reader);
    }
  }
  return count;
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

const [QUOTE, BACKSLASH, COMMA, BRACKET, BRACE] = Buffer.from('"\\,[{');

/** Upper bound of the number of values in a JSON text; stops beyond `max`. */
export function countJson(bytes: Uint8Array, max: number): number {
  let count = 1;
  let inText = false;
  for (let at = 0; at < bytes.length && count <= max; at++) {
    const byte = bytes[at];
    if (inText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inText = false;
    } else if (byte === QUOTE) inText = true;
    else if (byte === COMMA || byte === BRACKET || byte === BRACE) count++;
  }
  return count;
}
