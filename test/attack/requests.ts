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
 * Requests of a method that break no constraint of the contract, with `named` values wherever a
 * field of the name takes them: one for each case of its oneofs. Made from the descriptor, so that a
 * method that comes tomorrow has its requests too.
 */
export function requestsFor(method: DescMethod, named: Named): Message[] {
  const cases = Math.max(1, ...method.input.oneofs.map(({ fields }) => fields.length));
  return Array.from({ length: cases }, (_, at) => filled(method.input, named, at));
}

/** Deep enough for every contract, bounded for one that holds itself. */
const DEEPEST = 5;

function filled(desc: DescMessage, named: Named, choice: number, depth = 0): Message {
  const message = create(desc);
  const target = reflect(desc, message);
  for (const member of desc.members) {
    const field =
      member.kind === "oneof" ? member.fields[Math.min(choice, member.fields.length - 1)] : member;
    if (field === undefined || depth > DEEPEST) continue;
    switch (field.fieldKind) {
      case "message": {
        const inner = filled(field.message, named, 0, depth + 1);
        target.set(field, reflect(field.message, inner) as never);
        break;
      }
      case "list":
        target
          .get(field)
          .add(
            field.listKind === "message"
              ? reflect(field.message, filled(field.message, named, 0, depth + 1))
              : madeFor(field, named),
          );
        break;
      case "scalar":
      case "enum":
        target.set(field, madeFor(field, named) as never);
        break;
      default:
        throw new Error(`${field}: no values are made for a ${field.fieldKind}`);
    }
  }
  return message;
}

/** Texts of which one fits each pattern of the contracts. */
const texts = ["x", "somebody", "+4915112345678", "123456", "A".repeat(22), "A".repeat(43), ""];

function madeFor(field: DescField, named: Named): unknown {
  // A list's values are named by one of them.
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
      const found = [...(given === undefined ? [] : [given]), ...texts].find(fits);
      if (found === undefined) throw new Error(`${field}: no text of test/attack/requests.ts fits`);
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

/** RE2 writes a class with one letter as \pL, JavaScript as \p{L}. */
const expression = (pattern: string) => new RegExp(pattern.replace(/\\p([A-Z])/g, "\\p{$1}"), "u");
