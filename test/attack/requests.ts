import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  getOption,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { field as fieldRules } from "#gen/buf/validate/validate_pb.js";

/** Values for fields by their names in the contract, such as { user_id: "42" }. */
export type Named = Readonly<Record<string, string>>;

/**
 * Creates requests of a method that break no constraint of the contract, one for each case of its
 * oneofs. A field takes the value from `named` under its name if there is one. They are made from the
 * descriptor, so that new methods are covered without a change here.
 */
export function requestsFor(method: DescMethod, named: Named): Message[] {
  const cases = Math.max(1, ...method.input.oneofs.map(({ fields }) => fields.length));
  return Array.from({ length: cases }, (_, at) => fillMessage(method.input, named, at));
}

/** Creates a message of the contract that breaks no constraint. Every field is set, but one per oneof. */
export const validMessage = (desc: DescMessage): Message => fillMessage(desc, {}, 0);

/** Deepest nesting of messages: enough for every contract, and a bound for recursive messages. */
const MAX_DEPTH = 5;

function fillMessage(desc: DescMessage, named: Named, choice: number, depth = 0): Message {
  const message = create(desc);
  const target = reflect(desc, message);
  for (const member of desc.members) {
    const field =
      member.kind === "oneof" ? member.fields[Math.min(choice, member.fields.length - 1)] : member;
    if (field === undefined || depth > MAX_DEPTH) continue;
    switch (field.fieldKind) {
      case "message": {
        const inner = fillMessage(field.message, named, 0, depth + 1);
        target.set(field, reflect(field.message, inner) as never);
        break;
      }
      case "list":
        target
          .get(field)
          .add(
            field.listKind === "message"
              ? reflect(field.message, fillMessage(field.message, named, 0, depth + 1))
              : valueFor(field, named),
          );
        break;
      case "scalar":
      case "enum":
        target.set(field, valueFor(field, named) as never);
        break;
      case "map":
        if (field.mapKind !== "scalar" || field.mapKey !== ScalarType.STRING)
          throw new Error(`${field}: no pair can be made for this map`);
        target.get(field).set("x", valueFor(field, named));
        break;
    }
  }
  return message;
}

/** Sample texts: at least one fits each pattern of the contracts. */
const SAMPLE_TEXTS = [
  "x",
  "somebody",
  "+4915112345678",
  "https://example.org/a",
  "123456",
  "A".repeat(22),
  "A".repeat(43),
  "",
];

function valueFor(field: DescField, named: Named): unknown {
  // The field of a list is plural, the name of its value singular.
  const given = named[field.name] ?? named[field.name.replace(/s$/, "")];
  const rules = getOption(field, fieldRules).type;
  if ("enum" in field && field.enum)
    return field.enum.values.find(({ number }) => number > 0)?.number;
  switch (field.scalar) {
    case ScalarType.STRING: {
      const { pattern, minLen = 0n } =
        rules.case === "string" ? rules.value : { pattern: undefined, minLen: 0n };
      const fits = (text: string) =>
        text.length >= Number(minLen) && (!pattern || expression(pattern).test(text));
      const found = [...(given === undefined ? [] : [given]), ...SAMPLE_TEXTS].find(fits);
      if (found === undefined) throw new Error(`${field}: no text of SAMPLE_TEXTS fits`);
      return found;
    }
    case ScalarType.BYTES:
      return new Uint8Array(Number(rules.case === "bytes" ? rules.value.minLen : 0));
    case ScalarType.BOOL:
      return false;
    case ScalarType.INT64:
      return BigInt(given ?? 1);
    case ScalarType.DOUBLE:
      return 1;
    default: {
      const { greaterThan } = rules.case === "int32" ? rules.value : {};
      return Math.max(1, greaterThan?.case === "gte" ? greaterThan.value : 1);
    }
  }
}

/**
 * Translates an RE2 pattern: RE2 writes a Unicode class of one letter as \pL, JavaScript as \p{L}.
 */
const expression = (pattern: string) => new RegExp(pattern.replace(/\\p([A-Z])/g, "\\p{$1}"), "u");
