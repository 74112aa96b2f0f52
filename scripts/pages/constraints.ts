import { type DescField, getOption, isFieldSet } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence as Presence } from "@bufbuild/protobuf/wkt";
import {
  type FieldRules,
  FieldRulesSchema,
  field as fieldOption,
  Ignore,
} from "#gen/buf/validate/validate_pb.js";

/** A JSON Schema (draft 2020-12), or a part of one. */
export type Schema = { [keyword: string]: unknown };

type Rules = FieldRules["type"];

/** The constraints of a field; undefined when it declares none. */
export function rulesOfField(field: DescField): FieldRules | undefined {
  return field.proto.options && isFieldSetOption(field) ? getOption(field, fieldOption) : undefined;
}

function isFieldSetOption(field: DescField): boolean {
  const rules = getOption(field, fieldOption);
  return FieldRulesSchema.fields.some((rule) => isFieldSet(rules, rule));
}

/**
 * Whether a request must contain the field: its zero value, which an absent field has, breaks a
 * constraint.
 */
export function isRequired(field: DescField): boolean {
  const rules = rulesOfField(field);
  if (rules === undefined) return false;
  if (rules.required) return true;
  if (rules.ignore !== Ignore.UNSPECIFIED) return false;
  if (field.oneof !== undefined || field.presence === Presence.EXPLICIT) return false;
  return !admitsZero(rules.type);
}

function admitsZero(rules: Rules): boolean {
  switch (rules.case) {
    case "string":
      return rules.value.minLen === 0n && patternOf(rules.value.pattern).test("");
    case "bytes":
      return rules.value.minLen === 0n && rules.value.len === 0n;
    case "repeated":
      return rules.value.minItems === 0n;
    case "map":
      return rules.value.minPairs === 0n;
    case "enum":
      return !rules.value.notIn.includes(0);
    case "int32":
    case "uint32":
    case "int64":
    case "double": {
      const { greaterThan: low, lessThan: high } = rules.value;
      if (low.case === "gt" && Number(low.value) >= 0) return false;
      if (low.case === "gte" && Number(low.value) > 0) return false;
      if (high.case === "lt" && Number(high.value) <= 0) return false;
      return !(high.case === "lte" && Number(high.value) < 0);
    }
    default:
      return true;
  }
}

/** A pattern of the contract (RE2) as one of JSON Schema, which counts in characters of Unicode. */
export function patternOf(pattern: string): RegExp {
  return new RegExp(pattern.replace(/\\([pP])([A-Z])/g, "\\$1{$2}"), "u");
}

/** The keywords of a constraint, without those of the items of a list. Throws for an unknown rule. */
export function keywordsOf(rules: Rules): Schema {
  switch (rules.case) {
    case undefined:
      return {};
    case "string": {
      const { minLen, maxLen, maxBytes, pattern } = rules.value;
      return {
        ...(minLen > 0n ? { minLength: Number(minLen) } : {}),
        ...(maxLen > 0n ? { maxLength: Number(maxLen) } : {}),
        // JSON Schema counts no bytes. A character has at least one.
        ...(maxBytes > 0n ? { maxLength: Number(maxBytes), "x-max-bytes": Number(maxBytes) } : {}),
        ...(pattern === "" ? {} : { pattern: patternOf(pattern).source }),
      };
    }
    case "bytes": {
      const { len, minLen, maxLen } = rules.value;
      const least = Number(len || minLen);
      const most = Number(len || maxLen);
      // Base64: four characters for three bytes; the padding may be absent.
      return {
        ...(least > 0 ? { minLength: Math.ceil((least * 4) / 3) } : {}),
        ...(most > 0 ? { maxLength: Math.ceil(most / 3) * 4 } : {}),
      };
    }
    case "int64":
      return decimal(rules.value);
    case "int32":
    case "uint32":
    case "double":
      return range(rules.value);
    case "enum":
      // Names of numbers are known to the caller only.
      return {};
    case "repeated": {
      const { minItems, maxItems, unique } = rules.value;
      return {
        ...(minItems > 0n ? { minItems: Number(minItems) } : {}),
        ...(maxItems > 0n ? { maxItems: Number(maxItems) } : {}),
        ...(unique ? { uniqueItems: true } : {}),
      };
    }
    case "map": {
      const { minPairs, maxPairs } = rules.value;
      return {
        ...(minPairs > 0n ? { minProperties: Number(minPairs) } : {}),
        ...(maxPairs > 0n ? { maxProperties: Number(maxPairs) } : {}),
      };
    }
  }
}

interface Range<T> {
  readonly greaterThan: { case: "gt" | "gte"; value: T } | { case: undefined; value?: undefined };
  readonly lessThan: { case: "lt" | "lte"; value: T } | { case: undefined; value?: undefined };
}

function range({ greaterThan: low, lessThan: high }: Range<number>): Schema {
  return {
    ...(low.case === "gt" ? { exclusiveMinimum: low.value } : {}),
    ...(low.case === "gte" ? { minimum: low.value } : {}),
    ...(high.case === "lt" ? { exclusiveMaximum: high.value } : {}),
    ...(high.case === "lte" ? { maximum: high.value } : {}),
  };
}

/** 64-bit integers are texts in JSON: a pattern tells their sign, and extensions their range. */
function decimal({ greaterThan: low, lessThan: high }: Range<bigint>): Schema {
  const least = low.case === "gt" ? low.value + 1n : low.value;
  const most = high.case === "lt" ? high.value - 1n : high.value;
  return {
    ...(least !== undefined && least >= 0n
      ? { pattern: least > 0n ? "^[1-9][0-9]{0,18}$" : "^(0|[1-9][0-9]{0,18})$" }
      : {}),
    ...(least === undefined ? {} : { "x-minimum": String(least) }),
    ...(most === undefined ? {} : { "x-maximum": String(most) }),
  };
}
