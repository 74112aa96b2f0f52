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

/** Expected form of each known field of a message, by field number. */
export type Shape = ReadonlyMap<number, KnownField>;

interface KnownField {
  /** Wire types of the field; two for numbers in a list, which may be packed. */
  readonly types: readonly WireType[];
  readonly inner: Shape | undefined;
  /** Bit of a singular field, shared by the fields of a oneof; 0 for a list. */
  readonly once: number;
}

/**
 * Creates a check that all decoders agree on the encoded bytes of this message. At every depth
 * known fields must have their wire types, and only lists may repeat a field. At most `maxFields`
 * fields, unknown ones included, counted at all depths. The check is needed because receivers get
 * the sender's bytes unchanged, while the generated decoder is more lenient than others: it accepts
 * a repeated singular field and keeps the last value. The bound limits its allocations, one object
 * per field. The check throws WireError. Supports messages that do not contain themselves, with at
 * most 31 fields.
 */
export function wellFormed(desc: DescMessage, maxFields: number): (bytes: Uint8Array) => void {
  const shape = shapeOf(desc);
  return (bytes) => {
    check(shape, new FieldReader(bytes), { bytes, left: maxFields });
  };
}

/** An encoded message, and the number of fields that it may still contain. */
interface CheckState {
  readonly bytes: Uint8Array;
  left: number;
}

function check(shape: Shape, reader: FieldReader, state: CheckState): void {
  let seen = 0;
  while (reader.next()) {
    const { fieldNumber, wireType, start, end } = reader;
    const known = shape.get(fieldNumber);
    // A packed field holds at most as many numbers as bytes.
    const packed = known?.types.length === 2 && wireType === BYTES;
    state.left -= packed ? end - start : 1;
    if (state.left < 0) throw new WireError("too many fields");
    if (known === undefined) continue;
    if (!known.types.includes(wireType)) {
      throw new WireError(`field ${fieldNumber} has the wrong wire type`);
    }
    if ((seen & known.once) !== 0) throw new WireError(`field ${fieldNumber} is repeated`);
    seen |= known.once;
    if (known.inner !== undefined) {
      check(known.inner, new FieldReader(state.bytes, start, end), state);
    }
  }
}

/** The shape of a message that does not contain itself and has at most 31 fields. */
export function shapeOf(desc: DescMessage): Shape {
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
