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

/** Maximum depth of nested messages, the outermost included, as in the generated decoder. */
export const MAX_DEPTH = 100;

/** Expected form of each known field of a message, by field number. */
export type Shape = ReadonlyMap<number, KnownField>;

interface KnownField {
  /** Wire types of the field; two for numbers in a list, which may be packed. */
  readonly types: readonly WireType[];
  /** Shape of the messages in the field. A message that contains itself has a cyclic shape. */
  readonly inner: Shape | undefined;
  /** Bit of a singular field, shared by the fields of a oneof; 0 for a list. */
  readonly once: number;
}

/**
 * Creates a check that all decoders agree on the encoded bytes of this message. At every depth
 * known fields must have their wire types, and only lists may repeat a field. At most `maxFields`
 * fields, unknown ones included, counted at all depths, and at most 100 messages inside each other. The
 * check is needed because receivers get the sender's bytes unchanged, while the generated decoder is
 * more lenient than others: it accepts a repeated singular field and keeps the last value. The bounds
 * limit its allocations, one object per field, and the depth of its recursion. The check throws
 * WireError. Supports messages with at most 31 fields.
 */
export function wellFormed(desc: DescMessage, maxFields: number): (bytes: Uint8Array) => void {
  const shape = shapeOf(desc);
  return (bytes) => {
    check(shape, new FieldReader(bytes), { bytes, left: maxFields, depth: 1 });
  };
}

/** Progress of a check. */
interface CheckState {
  readonly bytes: Uint8Array;
  /** Number of fields that the bytes may still contain. */
  left: number;
  /** Depth of the message that is checked; 1 for the outermost. */
  depth: number;
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
      if (state.depth === MAX_DEPTH) throw new WireError("messages are nested too deeply");
      state.depth++;
      check(known.inner, new FieldReader(state.bytes, start, end), state);
      state.depth--;
    }
  }
}

/**
 * The shape of a message with at most 31 fields. Each type is read once: `made` holds the shapes so
 * far, so that the shape of a message that contains itself refers to itself.
 */
export function shapeOf(desc: DescMessage, made = new Map<DescMessage, Shape>()): Shape {
  const known = made.get(desc);
  if (known !== undefined) return known;
  if (desc.fields.length > 31)
    throw new Error(`${desc.typeName} has more fields than a mask has bits`);
  const shape = new Map<number, KnownField>();
  made.set(desc, shape);
  for (const field of desc.fields) {
    const list = field.fieldKind === "list" || field.fieldKind === "map";
    const first = field.oneof?.fields[0] ?? field;
    const once = list ? 0 : 1 << desc.fields.indexOf(first);
    shape.set(field.number, { types: typesOf(field), inner: innerOf(field, made), once });
  }
  return shape;
}

/** Shape of the messages in a field; undefined for other fields. */
function innerOf(field: DescField, made: Map<DescMessage, Shape>): Shape | undefined {
  const value = field.message === undefined ? undefined : shapeOf(field.message, made);
  if (field.fieldKind !== "map") return value;
  // An entry of a map is a message of its key and its value.
  const valueTypes = [value === undefined ? wireTypeOf(field.scalar) : BYTES];
  return new Map([
    [1, { types: [scalarType(field.mapKey)], inner: undefined, once: 1 }],
    [2, { types: valueTypes, inner: value, once: 2 }],
  ]);
}

function typesOf(field: DescField): readonly WireType[] {
  if (field.fieldKind === "map" || field.message !== undefined) return [BYTES];
  const type = wireTypeOf(field.scalar);
  return field.fieldKind === "list" && type !== BYTES ? [type, BYTES] : [type];
}

/** Wire type of a number or text; of an enum when there is no scalar type. */
function wireTypeOf(scalar: ScalarType | undefined): WireType {
  return scalar === undefined ? VARINT : scalarType(scalar);
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
