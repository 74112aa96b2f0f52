import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { invalidField } from "#platform/errors.ts";
import { MAX_DEPTH } from "#platform/validation/well-formed.ts";

/** A number in JSON that may be beyond 2^53: one of 16 digits or more, or with an exponent. */
const LARGE = /[:[,]\s*-?(?:\d{16}|[\d.]+e)/i;

const WIDE: ReadonlySet<ScalarType | undefined> = new Set([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);

/**
 * Refuses a request in JSON with a bare number beyond 2^53 - 1, of either sign, in a field of 64-bit
 * integers: JSON.parse has rounded such a number, and it would name another user or conversation.
 * Throws INVALID_ARGUMENT with the path of the field. Ignores text that is not JSON and unknown
 * fields: the decoder decides about them.
 */
export function requireExactIntegers(schema: DescMessage, bytes: Uint8Array): void {
  // Most requests have no such number, and are not parsed twice.
  // Decoded like by the library, which drops a byte order mark: JSON.parse accepts none.
  const text = new TextDecoder().decode(bytes);
  if (!LARGE.test(text)) return;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return;
  }
  checkMessage(schema, value, { path: "", depth: 1 });
}

interface Place {
  /** Path of the value, in the names of the contract; empty for the request. */
  readonly path: string;
  /** Depth of the message, 1 for the request. */
  readonly depth: number;
}

function checkMessage(desc: DescMessage, value: unknown, { path, depth }: Place): void {
  if (depth > MAX_DEPTH) throw invalidField(path, "messages are nested too deeply");
  if (typeof value !== "object" || value === null) return;
  const fields = value as Record<string, unknown>;
  for (const field of desc.fields) {
    for (const name of new Set([field.jsonName, field.name])) {
      if (!Object.hasOwn(fields, name)) continue;
      const inner = { path: path === "" ? field.name : `${path}.${field.name}`, depth };
      checkField(field, fields[name], inner);
    }
  }
}

function checkField(field: DescField, value: unknown, { path, depth }: Place): void {
  if (field.fieldKind === "list" && Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      checkItem(field, item, { path: `${path}[${index}]`, depth });
    }
  } else if (field.fieldKind === "map" && typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      const shown = field.mapKey === ScalarType.STRING ? JSON.stringify(key) : key;
      checkItem(field, item, { path: `${path}[${shown}]`, depth });
    }
  } else checkItem(field, value, { path, depth });
}

function checkItem(field: DescField, value: unknown, { path, depth }: Place): void {
  if (field.message) checkMessage(field.message, value, { path, depth: depth + 1 });
  else if (WIDE.has(field.scalar) && typeof value === "number" && !isExact(value)) {
    throw invalidField(path, "write a number beyond 2^53 - 1 as a string");
  }
}

/** Rounding keeps the order: no number beyond 2^53 - 1 is rounded to one within. */
function isExact(value: number): boolean {
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER;
}
