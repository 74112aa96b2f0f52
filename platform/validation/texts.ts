import { type DescField, type DescMessage, getOption, type Message } from "@bufbuild/protobuf";
import type { Path } from "@bufbuild/protobuf/reflect";
import { Violation } from "@bufbuild/protovalidate";
import { TextRule, text as textRule } from "#gen/lucky/options/v1/options_pb.js";

/**
 * Control characters, and the bidirectional overrides and isolates, which reverse the text that follows,
 * even outside the name. PostgreSQL cannot store NUL, and other control characters make one name look
 * like another. The marks that right-to-left scripts need are printable.
 */
const UNPRINTABLE = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u;
/** A character that shows by itself. Unicode classifies the last ones as letters and symbols. */
const VISIBLE =
  /[^\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{M}\p{Default_Ignorable_Code_Point}\u2800\ufffc\u{13441}\u{13442}\u{1d159}]/u;

/** Why a text breaks its rule; undefined when it does not. */
export function faultOfText(rule: TextRule, text: string): string | undefined {
  if (rule === TextRule.UNSPECIFIED || text === "") return undefined;
  if (UNPRINTABLE.test(text)) return "must not hold control characters";
  if (rule === TextRule.NAME && !VISIBLE.test(text)) return "must hold a visible character";
  return undefined;
}

/** The texts of a message that have a rule, and the messages in it that have such texts. */
interface Plan {
  readonly texts: readonly { field: DescField; rule: TextRule }[];
  readonly inner: readonly { field: DescField; schema: DescMessage }[];
}

/** Returns the first text of a message, at any depth, that breaks the rule of its field. */
export type TextCheck = (schema: DescMessage, message: Message) => Violation | undefined;

/** Creates the check of the option `text` (lucky.options.v1). */
export function createTextCheck(): TextCheck {
  const plans = new Map<DescMessage, Plan>();

  function planOf(schema: DescMessage): Plan {
    let plan = plans.get(schema);
    if (plan === undefined) {
      plan = {
        texts: schema.fields
          .map((field) => ({ field, rule: getOption(field, textRule) }))
          .filter(({ rule }) => rule !== TextRule.UNSPECIFIED),
        inner: schema.fields.flatMap((field) =>
          field.message !== undefined && hasTexts(field.message)
            ? [{ field, schema: field.message }]
            : [],
        ),
      };
      plans.set(schema, plan);
    }
    return plan;
  }

  function check(schema: DescMessage, message: Message, path: Path): Violation | undefined {
    const { texts, inner } = planOf(schema);
    for (const { field, rule } of texts) {
      const fault = faultOfText(rule, (valueIn(message, field) as string | undefined) ?? "");
      if (fault !== undefined) return new Violation(fault, "text", [...path, field], [], false);
    }
    for (const { field, schema: innerSchema } of inner) {
      const value = valueIn(message, field) as Message | Message[] | undefined;
      if (value === undefined) continue;
      const found = Array.isArray(value)
        ? firstIn(value, (item, index) =>
            check(innerSchema, item, [...path, field, { kind: "list_sub", index }]),
          )
        : check(innerSchema, value, [...path, field]);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  return (schema, message) => check(schema, message, []);
}

/** Whether a message has a text with a rule, at any depth. Throws for one in a list or a map. */
function hasTexts(schema: DescMessage, seen = new Set<DescMessage>()): boolean {
  if (seen.has(schema)) return false;
  seen.add(schema);
  return schema.fields.some((field) => {
    const ruled = getOption(field, textRule) !== TextRule.UNSPECIFIED;
    const inner = field.message !== undefined && hasTexts(field.message, seen);
    if ((ruled && field.fieldKind !== "scalar") || (inner && field.fieldKind === "map"))
      throw new Error(`${field}: the option text is for single fields only`);
    return ruled || inner;
  });
}

/** The value of a field; undefined when another field of its oneof is set. */
function valueIn(message: Message, field: DescField): unknown {
  const values = message as unknown as Record<string, unknown>;
  if (field.oneof === undefined) return values[field.localName];
  const member = values[field.oneof.localName] as { case?: string; value?: unknown };
  return member.case === field.localName ? member.value : undefined;
}

function firstIn<T, R>(
  items: readonly T[],
  find: (item: T, index: number) => R | undefined,
): R | undefined {
  for (const [index, item] of items.entries()) {
    const found = find(item, index);
    if (found !== undefined) return found;
  }
  return undefined;
}
