import { type DescField, getOption } from "@bufbuild/protobuf";
import { field as fieldRules } from "#gen/buf/validate/validate_pb.js";

// Bounds of the contract, for code that must respect them. It reads them once, when its module is
// loaded.

/** Largest number of items of a repeated field: `repeated.max_items`. Throws when it has none. */
export function maxItems(field: DescField): number {
  const { type } = getOption(field, fieldRules);
  const most = type.case === "repeated" ? Number(type.value.maxItems) : 0;
  if (most === 0) throw new Error(`${field} has no max_items`);
  return most;
}

/** Pattern of a text field: `string.pattern`. Throws when it has none. */
export function patternOf(field: DescField): RegExp {
  const { type } = getOption(field, fieldRules);
  const pattern = type.case === "string" ? type.value.pattern : "";
  if (pattern === "") throw new Error(`${field} has no pattern`);
  return new RegExp(pattern, "u");
}
