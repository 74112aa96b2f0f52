import assert from "node:assert/strict";
import { test } from "node:test";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { requireExactIntegers } from "./json-integers.ts";

const LIST = Label.REPEATED;
const field = (name: string, number: number, type: Type, more = {}) => ({
  name,
  jsonName: name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
  number,
  type,
  label: Label.OPTIONAL,
  ...more,
});
const entry = (name: string, key: Type, value: object) => ({
  name,
  field: [field("key", 1, key), { ...field("value", 2, Type.INT64), ...value }],
  options: { mapEntry: true },
});
const NUMBERS = { type: Type.MESSAGE, typeName: ".test.Numbers" };

/** A message with every kind of field that can hold a 64-bit integer. */
const numbers = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: "test.proto",
    package: "test",
    syntax: "proto3",
    messageType: [
      {
        name: "Numbers",
        field: [
          field("group_id", 1, Type.INT64),
          field("user_ids", 2, Type.UINT64, { label: LIST }),
          field("of_name", 3, Type.MESSAGE, {
            label: LIST,
            typeName: ".test.Numbers.OfNameEntry",
          }),
          field("of_id", 4, Type.MESSAGE, { label: LIST, typeName: ".test.Numbers.OfIdEntry" }),
          field("inner", 5, Type.MESSAGE, NUMBERS),
          field("ratio", 6, Type.DOUBLE),
          field("fixed", 7, Type.SFIXED64),
          field("inners", 8, Type.MESSAGE, { ...NUMBERS, label: LIST }),
        ],
        nestedType: [
          entry("OfNameEntry", Type.STRING, {}),
          entry("OfIdEntry", Type.INT64, NUMBERS),
        ],
      },
    ],
  }),
  () => undefined,
).getMessage("test.Numbers")!;

const check = (text: string, schema = numbers) => requireExactIntegers(schema, Buffer.from(text));

for (const [text, path] of [
  ['{"groupId":9007199254740993}', "group_id"],
  ['{"group_id" : -9007199254740993 }', "group_id"],
  ['{"groupId":9007199254740992}', "group_id"],
  ['{"groupId":1e30}', "group_id"],
  ['{"groupId":9.007199254740993E15}', "group_id"],
  ['{"userIds":["1",2,9223372036854775807]}', "user_ids[2]"],
  ['{"ofName":{"a":1,"b":9007199254740993}}', 'of_name["b"]'],
  ['{"ofId":{"9007199254740993":{"fixed":9007199254740993}}}', "of_id[9007199254740993].fixed"],
  ['{"inner":{"inner":{"groupId":9007199254740993}}}', "inner.inner.group_id"],
  ['{"inners":[{},{"userIds":[9007199254740993]}]}', "inners[1].user_ids[0]"],
  ['{"groupId":"1","group_id":9007199254740993}', "group_id"],
  ['\ufeff{"groupId":9007199254740993}', "group_id"],
] as const) {
  test(`a number that JSON has rounded is refused: ${text}`, () => {
    assert.throws(
      () => check(text),
      (error) => {
        assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
        assert.equal(detailOf(error)?.field, path);
        return true;
      },
    );
  });
}

for (const text of [
  '{"groupId":9007199254740991}',
  '{"groupId":-9007199254740991}',
  '{"groupId":"9223372036854775807","userIds":["9223372036854775807"]}',
  '{"ratio":9007199254740993,"groupId":1}',
  '{"unknown":9007199254740993,"inner":null}',
  '{"ofName":{": 9007199254740993":1}}',
  '{"groupId":9007199254740993',
  "9007199254740993",
]) {
  test(`any other number is left to the decoder: ${text}`, () => check(text));
}

test("messages are checked at most a hundred deep", () => {
  const nested = (depth: number) =>
    `${'{"inner":'.repeat(depth)}{"groupId":1e30}${"}".repeat(depth)}`;
  assert.throws(() => check(nested(99)), /group_id: write a number/);
  assert.throws(() => check(nested(100_000)), /nested too deeply/);
});

test("the target of a send is checked", () => {
  const send = '{"conversationId":12345678901234567890}';
  assert.throws(() => check(send, SendRequestSchema), /^ConnectError: .*conversation_id: /);
});
