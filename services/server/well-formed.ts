import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import {
  BYTES,
  FIXED32,
  FIXED64,
  scan,
  VARINT,
  WireError,
  type WireType,
} from "../../platform/wire.ts";

/** What each known field of a message must look like. */
type Shape = ReadonlyMap<number, { readonly types: readonly WireType[]; readonly inner?: Shape }>;

/**
 * Makes a check that encoded bytes are what every decoder takes for this message: known fields have
 * their wire types, at every depth. The generated decoder is more lenient than others, and what the
 * sender wrote goes to all receivers as it is. The check throws WireError. For messages that do not
 * contain themselves.
 */
export function wellFormed(desc: DescMessage): (bytes: Uint8Array) => void {
  const shape = shapeOf(desc);
  return (bytes) => check(shape, bytes, 0, bytes.length);
}

function check(shape: Shape, bytes: Uint8Array, from: number, to: number): void {
  for (const [number, wireType, start, end] of scan(bytes, from, to)) {
    const known = shape.get(number);
    if (known === undefined) continue;
    if (!known.types.includes(wireType)) throw new WireError(`field ${number} has a foreign type`);
    if (known.inner !== undefined) check(known.inner, bytes, start, end);
  }
}

function shapeOf(desc: DescMessage): Shape {
  return new Map(
    desc.fields.map((field) => {
      const inner = field.message === undefined ? undefined : shapeOf(field.message);
      return [field.number, { types: typesOf(field), inner }];
    }),
  );
}

function typesOf(field: DescField): readonly WireType[] {
  if (field.fieldKind === "map") return [BYTES];
  if (field.message !== undefined) return [BYTES];
  const type = field.scalar === undefined ? VARINT : scalarType(field.scalar);
  return field.fieldKind === "list" && type !== BYTES ? [type, BYTES] : [type];
}

function scalarType(scalar: ScalarType): WireType {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return BYTES;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return FIXED64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return FIXED32;
    default:
      return VARINT;
  }
}
