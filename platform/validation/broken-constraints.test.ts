import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type DescField,
  type DescFile,
  type DescMessage,
  type DescMethod,
  type DescOneof,
  getOption,
  hasOption,
  type Message,
} from "@bufbuild/protobuf";
import { pathToString, type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import type { UnaryRequest } from "@connectrpc/connect";
import {
  type FieldRules,
  FieldRulesSchema,
  field as fieldRules,
  Ignore,
  oneof as oneofRules,
} from "#gen/buf/validate/validate_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Hello, HelloSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { file_lucky_options_v1_options, TextRule, text } from "#gen/lucky/options/v1/options_pb.js";
import { detailOf } from "#platform/errors.ts";
import { SERVICES } from "#platform/rpc/contract.ts";
import { validateInterceptor } from "#platform/rpc/interceptors/validate.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import { validMessage } from "../../test/attack/requests.ts";
import { createMessageValidator } from "./validator.ts";

const PUBLIC = SERVICES.filter((service) => !isInternal(service));

/** Values that break one rule of a field, by the path of the rule in FieldRules. */
const BREAKERS: Record<string, (bound: never) => unknown[]> = {
  "double.gte": (bound: number) => [bound - 0.001, Number.NaN, Number.NEGATIVE_INFINITY],
  "double.lte": (bound: number) => [bound + 0.001, Number.NaN, Number.POSITIVE_INFINITY],
  "int32.gte": (bound: number) => [bound - 1],
  "int32.lte": (bound: number) => [bound + 1, 2 ** 31 - 1],
  "int64.gt": (bound: bigint) => [bound, -1n],
  "int64.gte": (bound: bigint) => [bound - 1n],
  "int64.lte": (bound: bigint) => [bound + 1n, 2n ** 63n - 1n],
  "string.min_len": (bound: bigint) => ["x".repeat(Number(bound) - 1)],
  // The length is in characters: code points, not UTF-16 units.
  "string.max_len": (bound: bigint) => [
    "x".repeat(Number(bound) + 1),
    "🦩".repeat(Number(bound) + 1),
  ],
  "string.max_bytes": (bound: bigint) => [
    "x".repeat(Number(bound) + 1),
    "é".repeat(Number(bound) / 2 + 1),
  ],
  "string.pattern": (pattern: string) => textsOutside(pattern),
  "bytes.len": (bound: bigint) => [
    new Uint8Array(Number(bound) - 1),
    new Uint8Array(Number(bound) + 1),
  ],
  "bytes.min_len": (bound: bigint) => [new Uint8Array(Number(bound) - 1)],
  "bytes.max_len": (bound: bigint) => [new Uint8Array(Number(bound) + 1)],
  "enum.defined_only": () => [999, -1],
  "enum.not_in": (numbers: readonly number[]) => [...numbers],
};

/** Texts that a pattern does not match. */
function textsOutside(pattern: string): string[] {
  const expression = new RegExp(pattern.replace(/\\p([A-Z])/g, "\\p{$1}"), "u");
  const texts = ["\0", "", " ", "é", "+", "x\n", "javascript:alert(1)", "https://", "https://a b"];
  const outside = texts.filter((each) => !expression.test(each));
  assert.ok(outside.length > 0, `no sample is outside of ${pattern}`);
  return outside;
}

const BROKEN_TEXTS: Record<TextRule, string[]> = {
  [TextRule.UNSPECIFIED]: [],
  [TextRule.PRINTABLE]: ["a\0b", "a\u202eb", "\n", "\u2067"],
  [TextRule.NAME]: [
    "a\0b",
    "a\u202eb",
    " ",
    "\u00a0",
    "\u2800",
    "\u3164",
    "\u115f\u1160",
    "\uffa0",
  ].concat([
    "\u200b\u200d",
    "\ufe0f",
    "\u{e0100}",
    "\u0301\u20dd",
    "\u00ad",
    "\u2028",
    "\u{1d159}",
    "\u{e0001}",
  ]),
};

/** The only item of a list, or the only pair of a map; the refusal names it by `at`. */
interface Inside {
  readonly at: string;
  readonly key?: string;
  readonly item: unknown;
}

const isInside = (value: unknown): value is Inside =>
  typeof value === "object" && value !== null && "item" in value;

/** One case of the table: a request that breaks one constraint. */
interface Case {
  readonly name: string;
  readonly request: Message;
  /** Path of the field that the refusal must name. */
  readonly path: string;
}

/** A place in a request: the fields that lead to a message. The first item stands for a list. */
type Place = readonly DescField[];

const pathOf = (place: readonly { name: string }[]): string =>
  place
    .map((step, at) => {
      const inList = "fieldKind" in step && step.fieldKind === "list" && at < place.length - 1;
      return inList ? `${step.name}[0]` : step.name;
    })
    .join(".");

/** A valid request with `change` applied to the message at a place. */
function requestWith(
  root: DescMessage,
  place: Place,
  change: (parent: ReflectMessage) => void,
): Message {
  const request = validMessage(root);
  let parent = reflect(root, request);
  for (const field of place) {
    assert.ok(field.message, `${field}`);
    if (field.fieldKind === "list") {
      parent = parent.get(field).get(0) as ReflectMessage;
      continue;
    }
    if (!parent.isSet(field))
      parent.set(field, reflect(field.message, validMessage(field.message)) as never);
    parent = parent.get(field) as ReflectMessage;
  }
  change(parent);
  return request;
}

/** The cases of all constraints of a request. `visited` gets every message with constraints. */
function casesOf(root: DescMessage, visited: Set<DescMessage>): Case[] {
  const cases: Case[] = [];

  function visit(desc: DescMessage, place: Place): void {
    visited.add(desc);
    const add = (what: string, member: DescField | DescOneof, values: unknown[]) => {
      const path = pathOf([...place, member]);
      for (const value of values) {
        const shown = isInside(value) ? value.at.slice(0, 20) : shownOf(value);
        const request = requestWith(root, place, (parent) => setValue(parent, member, value));
        const name = `${root.name} ${path} ${what} ${shown}`;
        cases.push({ name, request, path: isInside(value) ? path + value.at : path });
      }
    };
    for (const oneof of desc.oneofs)
      if (hasOption(oneof, oneofRules)) add("required", oneof, [undefined]);
    for (const field of desc.fields) {
      for (const [rule, values] of rulesOf(field)) add(rule, field, values);
      add("text", field, BROKEN_TEXTS[getOption(field, text)]);
      const { message } = field;
      const isNested = [root, ...place.map((step) => step.message)].includes(message);
      if (message !== undefined && !isNested) visit(message, [...place, field]);
    }
  }
  visit(root, []);
  return cases;
}

function shownOf(value: unknown): unknown {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 20)) : value;
}

/** Undefined clears the field or oneof. A number as the value of a list or a map is its length. */
function setValue(parent: ReflectMessage, member: DescField | DescOneof, value: unknown): void {
  if (member.kind === "oneof") {
    for (const field of member.fields) parent.clear(field);
  } else if (value === undefined) {
    parent.clear(member);
  } else if (member.fieldKind === "list") {
    const list = parent.get(member);
    const [first] = list;
    list.clear();
    if (isInside(value)) list.add(value.item);
    else for (let n = 0; n < Number(value); n++) list.add(first);
  } else if (member.fieldKind === "map") {
    const map = parent.get(member);
    const [pair = []] = map;
    map.clear();
    if (isInside(value)) map.set(value.key, value.item);
    else for (let n = 0; n < Number(value); n++) map.set(`${n}`, pair[1]);
  } else parent.set(member, value as never);
}

/** The rules of a field, each with the values that break it. Throws for a rule that has no breaker. */
function rulesOf(field: DescField): [string, unknown[]][] {
  const rules: FieldRules = getOption(field, fieldRules);
  const found: [string, unknown[]][] = [];
  for (const member of FieldRulesSchema.fields) {
    if (!reflect(FieldRulesSchema, rules).isSet(member)) continue;
    if (member.name === "required") found.push(["required", [undefined]]);
    else if (member.name === "ignore") assert.equal(rules.ignore, Ignore.IF_ZERO_VALUE);
    else found.push(...typedRulesOf(field, rules));
  }
  return found;
}

function typedRulesOf(field: DescField, { type }: FieldRules): [string, unknown[]][] {
  assert.ok(type.case);
  const of = FieldRulesSchema.field[type.case].message!;
  const set = reflect(of, type.value);
  return of.fields
    .filter((rule) => set.isSet(rule))
    .flatMap((rule): [string, unknown[]][] => {
      const name = `${type.case}.${rule.name}`;
      const bound = rule.fieldKind === "list" ? [...set.get(rule)] : set.get(rule);
      if (rule.message === FieldRulesSchema)
        return insideRules(field, name, (bound as ReflectMessage).message as FieldRules);
      if (name === "repeated.min_items") return [[name, [Number(bound) - 1]]];
      if (name === "repeated.max_items" || name === "map.max_pairs")
        return [[name, [Number(bound) + 1]]];
      if (name === "repeated.unique") return [[name, [2]]];
      const breaker = BREAKERS[name];
      assert.ok(breaker, `${field} has the rule ${name}: add a value that breaks it`);
      return [[name, breaker(bound as never)]];
    });
}

/** The rules of the items of a list, or of the keys or the values of a map. */
function insideRules(field: DescField, name: string, rules: FieldRules): [string, unknown[]][] {
  const inside = (value: unknown): Inside => {
    switch (name) {
      case "repeated.items":
        return { at: "[0]", item: value };
      case "map.keys":
        return { at: `[${JSON.stringify(value)}]`, key: String(value), item: "x" };
      case "map.values":
        return { at: '["x"]', key: "x", item: value };
      default:
        return assert.fail(`${field} has the rule ${name}: add a value that breaks it`);
    }
  };
  return typedRulesOf(field, rules).map(([rule, values]) => [rule, values.map(inside)]);
}

const refuse = validateInterceptor()(async () => {
  throw new Error("the request was not refused");
});

/** The field that the refusal of a request names. */
async function refusedField(method: DescMethod, message: Message): Promise<string | undefined> {
  const call = { stream: false, method, message } as unknown as UnaryRequest;
  const error = await refuse(call).catch((thrown: unknown) => thrown);
  const detail = detailOf(error);
  assert.equal(detail?.reason, ErrorReason.INVALID_ARGUMENT, String(error));
  return detail.field;
}

test("every constraint of the public contract is enforced, and the refusal names its field", async () => {
  const visited = new Set<DescMessage>();
  const rules = new Set<string>();
  let count = 0;
  for (const method of PUBLIC.flatMap(({ methods }) => methods)) {
    for (const { name, request, path } of casesOf(method.input, visited)) {
      count++;
      rules.add(name.split(" ")[2]!);
      assert.equal(await refusedField(method, request), path, name);
    }
  }
  // Connect checks a Hello by the same validator. The other frames contain requests, or bytes of them.
  const validator = createMessageValidator();
  for (const { name, request, path } of casesOf(HelloSchema, visited)) {
    const result = validator.validate(HelloSchema, request as Hello);
    assert.equal(pathToString(result.violations?.[0]?.field ?? []), path, name);
  }
  assert.ok(count > 1_000, `${count} cases`);
  const unused = Object.keys(BREAKERS).filter((rule) => !rules.has(rule));
  assert.deepEqual(unused, [], "rules that no field has");

  const declared = PUBLIC.flatMap(({ file }) => messagesOf(file)).filter(hasConstraints);
  const unchecked = declared.filter((desc) => !visited.has(desc)).map(({ typeName }) => typeName);
  assert.deepEqual(unchecked, [], "constraints of messages that no request contains");
});

test("every option of a field is enforced: text here, the others by the rate limit and the reader of sends", () => {
  const options = file_lucky_options_v1_options.extensions
    .filter(({ extendee }) => extendee.name === "FieldOptions")
    .map(({ name }) => name);
  // Server checks server_only, see services/server/sending/read-send.test.ts.
  assert.deepEqual(options, ["items_per_point", "server_only", "text"]);
});

test("a text of the declared length is accepted, whatever its encoding", async () => {
  const { file } = PUBLIC.find(({ name }) => name === "GroupService")!;
  const create = file.messages.find(({ name }) => name === "CreateGroupRequest")!;
  const method = PUBLIC.find(({ name }) => name === "GroupService")!.methods[0]!;
  for (const name of ["🦩".repeat(100), "e\u0301", "\u3164a", "  a  ", "لا\u200d", "अ"]) {
    const message = requestWith(create, [], (parent) => parent.set(create.field.name!, name));
    const call = { stream: false, method, message } as unknown as UnaryRequest;
    await assert.rejects(refuse(call), /the request was not refused/, name);
  }
});

/** All messages of a file and of the files that it imports. */
function messagesOf(file: DescFile): DescMessage[] {
  const nested = (desc: DescMessage): DescMessage[] => [
    desc,
    ...desc.nestedMessages.flatMap(nested),
  ];
  const imported = file.dependencies.filter(({ name }) => name.startsWith("lucky/"));
  return [...file.messages.flatMap(nested), ...imported.flatMap(messagesOf)];
}

const hasConstraints = (desc: DescMessage): boolean =>
  desc.oneofs.some((oneof) => hasOption(oneof, oneofRules)) ||
  desc.fields.some((field) => hasOption(field, fieldRules) || hasOption(field, text));
