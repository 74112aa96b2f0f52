import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import {
  BYTES,
  readVarint,
  readVarint64,
  scan,
  VARINT,
  varintSize,
  WireError,
  WireWriter,
  writeVarint,
} from "./wire.ts";

const VALUES = [
  0,
  1,
  127,
  128,
  300,
  0xfffffff,
  0x10000000,
  0x7fffffff,
  0xffffffff,
  2 ** 40,
  Number.MAX_SAFE_INTEGER,
];
const LONGS = [...VALUES.map(BigInt), 2n ** 62n + 5n, 2n ** 63n - 1n, -1n];

test("a varint that was written reads back as the same value", () => {
  const room = Buffer.alloc(16);
  for (const value of VALUES) {
    assert.equal(writeVarint(room, 0, value), varintSize(value), `${value}`);
    assert.equal(readVarint(room, 0), value);
  }
  for (const value of LONGS) {
    assert.equal(writeVarint(room, 0, value), varintSize(value), `${value}`);
    assert.equal(BigInt.asIntN(64, readVarint64(room, 0)), value);
  }
});

test("the generated code decodes a message of the writer", () => {
  const writer = new WireWriter(1);
  writer
    .varint(1, 2n ** 62n + 1n)
    .varint(2, 7)
    .string(6, "m".repeat(64))
    .string(6, "grün");
  const content = Buffer.from([10, 3, 10, 1, 0x68]);
  writer.bytes(10, content.subarray(0, 5));
  const entry = fromBinary(EntrySchema, writer.finish());
  assert.equal(entry.conversationId, (2n ** 62n + 1n).toString());
  assert.equal(entry.sequence, 7n);
  assert.equal(entry.clientMessageId, "grün");
  assert.deepEqual(entry.content?.kind, { case: "text", value: entry.content?.kind.value });
});

test("scan finds the fields of a message that the generated code encoded", () => {
  const bytes = toBinary(
    EntrySchema,
    create(EntrySchema, { conversationId: "5", sequence: 300n, clientMessageId: "abc" }),
  );
  assert.deepEqual(
    scan(bytes).map(([number, type, start, end]) => [number, type, end - start]),
    [
      [1, VARINT, 1],
      [2, VARINT, 2],
      [6, BYTES, 3],
    ],
  );
});

test("scan refuses truncated fields, groups, field number zero and field numbers hidden by high bits", () => {
  const bad = [
    [0x0a],
    [0x0a, 5, 1],
    [0x08],
    [0x0b, 0x0c],
    [0x00, 1],
    [0x09, 1, 2],
    [0x0d, 1],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    [0x90, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1],
  ];
  for (const bytes of bad) assert.throws(() => scan(Uint8Array.from(bytes)), WireError);
});
