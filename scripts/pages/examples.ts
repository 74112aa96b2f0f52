import {
  type DescEnum,
  type DescField,
  type DescMessage,
  getOption,
  ScalarType,
} from "@bufbuild/protobuf";
import { type FieldRules, oneof as oneofOption } from "#gen/buf/validate/validate_pb.js";
import { isRequired, patternOf, rulesOfField } from "./constraints.ts";

/** Texts that match the patterns of the contract. */
const TEXTS = ["ana", "a-1", "123456", "+4915123456789", "a".repeat(22), "a".repeat(43)];

/**
 * The smallest valid request, in JSON: the required fields, and the first field of each oneof that is
 * required. A reader changes its values.
 */
export function exampleOf(message: DescMessage): Record<string, unknown> {
  const first = message.oneofs
    .filter((oneof) => getOption(oneof, oneofOption).required)
    .map(({ fields }) => fields[0]);
  const fields = message.fields.filter((field) => isRequired(field) || first.includes(field));
  return Object.fromEntries(fields.map((field) => [field.jsonName, exampleValue(field)]));
}

function exampleValue(field: DescField): unknown {
  const rules = rulesOfField(field);
  switch (field.fieldKind) {
    case "list": {
      const items = rules?.type.case === "repeated" ? rules.type.value.items : undefined;
      const element = field.listKind === "scalar" ? field.scalar : (field.enum ?? field.message);
      return [exampleElement(element, items)];
    }
    case "map":
      throw new Error(`no example for the map ${field}`);
    case "scalar":
      return exampleElement(field.scalar, rules);
    case "enum":
      return exampleElement(field.enum, rules);
    case "message":
      return exampleOf(field.message);
  }
}

function exampleElement(
  element: ScalarType | DescEnum | DescMessage,
  rules: FieldRules | undefined,
): unknown {
  const type = rules?.type;
  if (typeof element === "object") {
    if (element.kind === "message") return exampleOf(element);
    return (element.values.find(({ number }) => number !== 0) ?? element.values[0])!.name;
  }
  switch (element) {
    case ScalarType.BOOL:
      return true;
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return "1";
    case ScalarType.BYTES: {
      const bytes = type?.case === "bytes" ? Number(type.value.len || type.value.minLen || 1n) : 1;
      return Buffer.alloc(bytes, 1).toString("base64");
    }
    case ScalarType.STRING: {
      if (type?.case !== "string") return "text";
      const pattern = patternOf(type.value.pattern);
      const candidates = [...TEXTS, "a".repeat(Number(type.value.minLen))];
      const text = candidates.find(
        (candidate) => pattern.test(candidate) && candidate.length >= type.value.minLen,
      );
      if (text === undefined) throw new Error(`no example matches ${pattern}: add one to TEXTS`);
      return text;
    }
    default: {
      const low = type?.case === "int32" ? type.value.greaterThan : undefined;
      return low?.case === "gte" ? low.value : 1;
    }
  }
}
