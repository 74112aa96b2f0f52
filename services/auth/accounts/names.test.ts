import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { nameKey, requireVisible, shapesOf } from "./names.ts";

const invalid = (error: unknown) => reasonOf(error) === ErrorReason.INVALID_ARGUMENT;
const confusable = (one: string, other: string) =>
  shapesOf(one).some((shape) => shapesOf(other).includes(shape));

test("different spellings of one name have the same key", () => {
  assert.equal(nameKey("Straße"), nameKey("STRASSE"));
  assert.equal(nameKey("Ａｎａ"), nameKey("ana"));
  assert.notEqual(nameKey("ana"), nameKey("anna"));
});

test("the key of a prefix is a prefix of the name's key", () => {
  for (const [name, beginning] of [
    ["κώστας", "κώσ"],
    ["ΚΏΣΤΑΣ", "κώσ"],
    ["Straße", "strass"],
    ["İpek", "i̇p"],
  ] as const)
    assert.ok(nameKey(name).startsWith(nameKey(beginning)), `${name} ${beginning}`);
});

test("a name with invisible characters is refused", () => {
  for (const name of ["ㅤㅤㅤ", "ana\ufe0f", "a\u034fna", "ana\u1160", "ana\u17b4", "a\u{e0100}na"])
    assert.throws(() => requireVisible(name), invalid, JSON.stringify(name));
  for (const name of ["ana", "Ａｎａ", "мария", "李明", "ana.b-c_d", "नमस्ते", "e\u0301lise"])
    requireVisible(name);
});

for (const [one, other, why] of [
  ["paypal", "pаypаl", "Cyrillic а"],
  ["ella", "eIla", "capital I for l"],
  ["admin", "аdmіn", "Cyrillic а and і"],
  ["modern", "modem", "rn for m"],
  ["bob", "b0b", "zero for o"],
  ["Hello", "Ηello", "Greek Η"],
  ["ana1", "anal", "one for l"],
  ["ana", "ana\ufe0f", "a variation selector"],
  ["ana", "a\u034fna", "a grapheme joiner"],
  ["ana", "ana\u3164", "the Hangul filler"],
  ["ivan", "\u{1e04c}van", "a Cyrillic modifier letter, new in Unicode 15"],
] as const) {
  test(`${why}: ${one} and ${other} are confusable`, () => {
    assert.ok(confusable(one, other));
  });
}

test("visibly different names share no shape", () => {
  for (const [one, other] of [
    ["elia", "ella"],
    ["ana", "anna"],
    ["мария", "марина"],
    ["李明", "李朋"],
  ] as const)
    assert.ok(!confusable(one, other), `${one} ${other}`);
});
