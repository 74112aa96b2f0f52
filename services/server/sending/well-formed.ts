import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import {
  BYTES,
  FIXED32,
  FIXED64,
  FieldReader,
  VARINT,
  WireError,
  type WireType,
} from "#platform/wire.ts";

/** What each known field of a message must look like. */
type Shape = ReadonlyMap<number, KnownField>;

interface KnownField {
  readonly types: readonly WireType[];
  readonly inner: Shape | undefined;
  /** A bit for what may stand once in the message: a field, or the fields of a oneof; 0 for a list. */
  readonly once: number;
}

/**
 * Makes a check that encoded bytes are what every decoder takes for this message: known fields have
 * their wire types and stand once, lists excepted, at every depth; and there are `maxFields` at most,
 * those of all depths and of no known number counted. The generated decoder is more lenient than
 * others, makes an object of each field, and of a field that stands twice keeps the last one, while
 * what the sender wrote goes to all receivers as it is. The check throws WireError. For messages that
 * do not contain themselves, with at most 31 fields.
 */
export function wellFormed(desc: DescMessage, maxFields: number): (bytes: Uint8Array) => void {
  const shape = shapeOf(desc);
  return (bytes) => {
    check(shape, new FieldReader(bytes), { bytes, left: maxFields });
  };
}

/** An encoded message, and how many more fields it may have. */
interface CheckState {
  readonly bytes: Uint8Array;
  left: number;
}

function check(shape: Shape, reader: FieldReader, checked: CheckState): void {
  let seen = 0;
  while (reader.next()) {
    const { fieldNumber, wireType, start, end } = reader;
    const known = shape.get(fieldNumber);
    // Many numbers in one field: as many as bytes, at most.
    const packed = known?.types.length === 2 && wireType === BYTES;
    checked.left -= packed ? end - start : 1;
    if (checked.left < 0) throw new WireError("too many fields");
    if (known === undefined) continue;
    if (!known.types.includes(wireType)) {
      throw new WireError(`field ${fieldNumber} has a foreign type`);
    }
    if ((seen & known.once) !== 0) throw new WireError(`field ${fieldNumber} is one too many`);
    seen |= known.once;
    if (known.inner !== undefined) {
      check(known.inner, new FieldReader(checked.bytes, start, end), checked);
    }
  }
}

function shapeOf(desc: DescMessage): Shape {
  if (desc.fields.length > 31)
    throw new Error(`${desc.typeName} has more fields than a mask has bits`);
  return new Map(
    desc.fields.map((field) => {
      const inner = field.message === undefined ? undefined : shapeOf(field.message);
      const list = field.fieldKind === "list" || field.fieldKind === "map";
      const first = field.oneof?.fields[0] ?? field;
      const once = list ? 0 : 1 << desc.fields.indexOf(first);
      return [field.number, { types: typesOf(field), inner, once }];
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
