import type { DescMessage } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { WireError } from "#platform/wire.ts";
import { type FieldCounter, fieldCounter } from "./field-count.ts";

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
  const counters = new Map<DescMessage, FieldCounter>();

  function counterFor(schema: DescMessage): FieldCounter {
    let counter = counters.get(schema);
    if (counter === undefined) {
      counter = fieldCounter(schema);
      counters.set(schema, counter);
    }
    return counter;
  }

  function exceeds({ schema, bytes, json }: EncodedRequest, maxItems: number): boolean {
    // Every item takes a byte at least.
    if (bytes.length <= maxItems) return false;
    if (json) return countJson(bytes, maxItems) > maxItems;
    try {
      return counterFor(schema)(bytes, maxItems) > maxItems;
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
