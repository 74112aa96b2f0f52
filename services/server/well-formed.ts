import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import {
  BYTES,
  FIXED32,
  FIXED64,
  FieldReader,
  VARINT,
  WireError,
  type WireType,
} from "../../platform/wire.ts";

/** What each known field of a message must look like. */
type Shape = ReadonlyMap<number, Known>;

interface Known {
  readonly types: readonly WireType[];
  readonly inner: Shape | undefined;
  readonly list: boolean;
}

/**
 * Makes a check that encoded bytes are what every decoder takes for this message: known fields have
 * their wire types, at every depth, and there are `maxFields` at most, those of all depths and of no
 * known number counted. The generated decoder is more lenient than others, and what the sender wrote
 * goes to all receivers as it is; and it makes an object of each field. The check throws WireError.
 * For messages that do not contain themselves.
 */
export function wellFormed(desc: DescMessage, maxFields: number): (bytes: Uint8Array) => void {
  const shape = shapeOf(desc);
  return (bytes) => {
    check(shape, new FieldReader(bytes), { bytes, left: maxFields });
  };
}

/** An encoded message, and how many more fields it may have. */
interface Checked {
  readonly bytes: Uint8Array;
  left: number;
}

function check(shape: Shape, reader: FieldReader, checked: Checked): void {
  while (reader.next()) {
    const { fieldNumber, wireType, start, end } = reader;
    const known = shape.get(fieldNumber);
    // A list of numbers in one field has as many items as bytes, at most.
    checked.left -= known?.list === true && known.inner === undefined ? 1 + end - start : 1;
    if (checked.left < 0) throw new WireError("too many fields");
    if (known === undefined) continue;
    if (!known.types.includes(wireType)) {
      throw new WireError(`field ${fieldNumber} has a foreign type`);
    }
    if (known.inner !== undefined) {
      check(known.inner, new FieldReader(checked.bytes, start, end), checked);
    }
  }
}

function shapeOf(desc: DescMessage): Shape {
  return new Map(
    desc.fields.map((field) => {
      const inner = field.message === undefined ? undefined : shapeOf(field.message);
      return [field.number, { types: typesOf(field), inner, list: field.fieldKind === "list" }];
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
