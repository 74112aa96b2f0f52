import assert from "node:assert/strict";
import { test } from "node:test";
import { fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { WireError, WireWriter } from "#platform/wire.ts";
import { fieldCounter } from "./field-count.ts";
import { createRequestBound } from "./request-bound.ts";
import { wellFormed } from "./well-formed.ts";

// google.protobuf.Value contains itself: in a list, and in the map of a Struct.
const check = wellFormed(ValueSchema, 1_000);

const encoded = (value: JsonValue) => toBinary(ValueSchema, fromJson(ValueSchema, value));
/** Wraps the bytes of a value into a list of one value, several times. */
const inLists = (value: Uint8Array, times: number): Uint8Array => {
  let bytes = value;
  for (let i = 0; i < times; i++) {
    bytes = new WireWriter().bytes(6, new WireWriter().bytes(1, bytes).finish()).finish();
  }
  return bytes;
};
const entryOf = (fields: WireWriter) => {
  const struct = new WireWriter().bytes(1, fields.finish()).finish();
  return new WireWriter().bytes(5, struct).finish();
};
const text = new WireWriter().string(3, "text").finish();

test("a message that contains itself is checked at every depth", () => {
  check(encoded({ a: { b: [1, "two", { c: null }] }, d: true }));
  check(inLists(text, 10));
  const twoKinds = new WireWriter().string(3, "text").varint(4, 1).finish();
  assert.throws(() => check(inLists(twoKinds, 10)), /field 4 is repeated/);
  const wrongType = new WireWriter().varint(3, 1).finish();
  assert.throws(() => check(inLists(wrongType, 10)), /field 3 has the wrong wire type/);
});

test("at most 100 messages may be inside each other", () => {
  // A value and 49 times a list with a value: 99 messages.
  check(inLists(text, 49));
  const tooDeep = new WireError("messages are nested too deeply");
  assert.throws(() => check(inLists(text, 50)), tooDeep);
  const count = fieldCounter(ValueSchema);
  assert.equal(count(inLists(text, 49), 1_000), 99);
  assert.throws(() => count(inLists(text, 50), 1_000), tooDeep);
});

test("the fields inside a message that contains itself count against the bound", () => {
  check(encoded(Array.from({ length: 400 }, () => 1)));
  const bytes = encoded(Array.from({ length: 400 }, () => [[]]));
  assert.throws(() => check(bytes), new WireError("too many fields"));
});

test("an entry of a map has one key and one value, each of its type", () => {
  check(entryOf(new WireWriter().string(1, "key").bytes(2, text)));
  const twoKeys = new WireWriter().string(1, "key").string(1, "other").bytes(2, text);
  assert.throws(() => check(entryOf(twoKeys)), /field 1 is repeated/);
  const numberAsKey = new WireWriter().varint(1, 7).bytes(2, text);
  assert.throws(() => check(entryOf(numberAsKey)), /field 1 has the wrong wire type/);
  const twoKinds = new WireWriter().string(3, "text").varint(4, 1).finish();
  assert.throws(() => check(entryOf(new WireWriter().bytes(2, twoKinds))), /field 4 is repeated/);
});

test("the fields of a message that contains itself are counted at all depths", () => {
  const count = fieldCounter(ValueSchema);
  assert.equal(count(inLists(text, 10), 1_000), 21);
  // Each entry of a map is a field with two fields.
  assert.equal(count(encoded({ a: 1, b: { c: 1 } }), 1_000), 13);
  const bound = createRequestBound();
  const request = { schema: ValueSchema, bytes: inLists(text, 10), json: false };
  bound(request, 21);
  assert.throws(() => bound(request, 20), /more than 20 fields/);
});
