import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  ScalarType,
} from "@bufbuild/protobuf";
import { type FieldRules, oneof as oneofOption } from "#gen/buf/validate/validate_pb.js";
import { isRequired, keywordsOf, rulesOfField, type Schema } from "./constraints.ts";
import { commentOf } from "./contract.ts";

/** Schemas of messages and enums in JSON, by full name. */
export interface Schemas {
  /** A reference to the schema of a type, which joins the components. */
  ref(type: DescMessage | DescEnum): Schema;
  /** All types that were referred to, with all types that they contain, in the order of their names. */
  components(): Record<string, Schema>;
}

export function createSchemas(): Schemas {
  const found = new Map<string, Schema>();

  function ref(type: DescMessage | DescEnum): Schema {
    if (!found.has(type.typeName)) {
      // Messages may contain themselves.
      found.set(type.typeName, {});
      found.set(type.typeName, type.kind === "enum" ? enumSchema(type) : messageSchema(type, ref));
    }
    return { $ref: `#/components/schemas/${type.typeName}` };
  }
  return {
    ref,
    components: () => Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

type Ref = Schemas["ref"];

function messageSchema(message: DescMessage, ref: Ref): Schema {
  const properties: Record<string, Schema> = {};
  for (const field of message.fields) properties[field.jsonName] = fieldSchema(field, ref);
  const required = message.fields.filter(isRequired).map(({ jsonName }) => jsonName);
  const choices = message.oneofs.map(choiceOf);
  return {
    type: "object",
    title: message.typeName,
    ...described(commentOf(message)),
    properties,
    ...(required.length > 0 ? { required } : {}),
    ...(choices.length > 0 ? { allOf: choices } : {}),
  };
}

/** At most one field of a oneof is present; exactly one when the contract requires it. */
function choiceOf(oneof: DescOneof): Schema {
  const present = oneof.fields.map(({ jsonName }) => ({ required: [jsonName] }));
  const none = { not: { anyOf: present } };
  return { oneOf: getOption(oneof, oneofOption).required ? present : [...present, none] };
}

function enumSchema(desc: DescEnum): Schema {
  const values = desc.values.map((value) => `- \`${value.name}\`: ${commentOf(value)}`);
  const later = "A later version of the server may add values.";
  return {
    type: "string",
    title: desc.typeName,
    description: [commentOf(desc), later, values.join("\n")].join("\n\n"),
    enum: desc.values.map(({ name }) => name),
  };
}

function fieldSchema(field: DescField, ref: Ref): Schema {
  const rules = rulesOfField(field);
  const { oneof } = field;
  const only = oneof === undefined ? "" : `Only one field of \`${oneof.name}\` is present.`;
  const text = [commentOf(field), only].filter((part) => part !== "").join(" ");
  return { ...valueSchema(field, rules, ref), ...described(text) };
}

function valueSchema(field: DescField, rules: FieldRules | undefined, ref: Ref): Schema {
  const type = rules?.type ?? { case: undefined };
  switch (field.fieldKind) {
    case "list": {
      const items = type.case === "repeated" ? type.value.items : undefined;
      const element = field.listKind === "scalar" ? field.scalar : (field.enum ?? field.message);
      return { type: "array", items: elementSchema(element, items, ref), ...keywordsOf(type) };
    }
    case "map": {
      const values = type.case === "map" ? type.value.values : undefined;
      const element = field.mapKind === "scalar" ? field.scalar : (field.enum ?? field.message);
      const additionalProperties = elementSchema(element, values, ref);
      return { type: "object", additionalProperties, ...keywordsOf(type) };
    }
    case "scalar":
      return elementSchema(field.scalar, rules, ref);
    case "enum":
      return elementSchema(field.enum, rules, ref);
    case "message":
      return elementSchema(field.message, rules, ref);
  }
}

/** The schema of a single value. */
function elementSchema(
  element: ScalarType | DescEnum | DescMessage,
  rules: FieldRules | undefined,
  ref: Ref,
): Schema {
  const type = rules?.type ?? { case: undefined };
  if (typeof element !== "object") return { ...scalarSchema(element), ...keywordsOf(type) };
  if (element.kind === "message" || type.case !== "enum") return ref(element);
  const refused = element.values.filter(({ number }) => type.value.notIn.includes(number));
  if (refused.length === 0) return ref(element);
  return { ...ref(element), not: { enum: refused.map(({ name }) => name) } };
}

function scalarSchema(scalar: ScalarType): Schema {
  switch (scalar) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { type: "number", format: ScalarType[scalar].toLowerCase() };
    case ScalarType.INT32:
      return { type: "integer", format: "int32", minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
    case ScalarType.UINT32:
      return { type: "integer", minimum: 0, maximum: 2 ** 32 - 1 };
    // A number of JSON would lose digits in many languages.
    case ScalarType.INT64:
      return { type: "string", format: "int64", pattern: "^-?[0-9]{1,19}$", examples: ["1"] };
    case ScalarType.UINT64:
      return { type: "string", format: "uint64", pattern: "^[0-9]{1,20}$" };
    default:
      throw new Error(`no schema for ${ScalarType[scalar]}: add one`);
  }
}

function described(description: string): Schema {
  return description === "" ? {} : { description };
}
