import assert from "node:assert/strict";
import { test } from "node:test";
import { nameKey, shapesOf } from "./names.ts";

const alike = (one: string, other: string) =>
  shapesOf(one).some((shape) => shapesOf(other).includes(shape));

test("spellings of one name have one key", () => {
  assert.equal(nameKey("Straße"), nameKey("STRASSE"));
  assert.equal(nameKey("Ａｎａ"), nameKey("ana"));
  assert.notEqual(nameKey("ana"), nameKey("anna"));
});

for (const [one, other, why] of [
  ["paypal", "pаypаl", "Cyrillic а"],
  ["ella", "eIla", "capital I for l"],
  ["admin", "аdmіn", "Cyrillic а and і"],
  ["modern", "modem", "rn for m"],
  ["bob", "b0b", "zero for o"],
  ["Hello", "Ηello", "Greek Η"],
  ["ana1", "anal", "one for l"],
] as const) {
  test(`${why}: ${one} and ${other} can be mistaken for each other`, () => {
    assert.ok(alike(one, other));
  });
}

test("names that differ to the eye have no shape in common", () => {
  for (const [one, other] of [
    ["elia", "ella"],
    ["ana", "anna"],
    ["мария", "марина"],
    ["李明", "李朋"],
  ] as const)
    assert.ok(!alike(one, other), `${one} ${other}`);
});
