import assert from "node:assert/strict";
import { test } from "node:test";
import { excerpt } from "./excerpt.ts";

test("a short text is unchanged; a long one is cut between characters, within the bytes", () => {
  assert.equal(excerpt("x".repeat(128)), "x".repeat(128));
  assert.equal(excerpt("x".repeat(129)), `${"x".repeat(125)}…`);
  assert.equal(excerpt("é".repeat(64)), "é".repeat(64));
  assert.equal(excerpt("é".repeat(65)), `${"é".repeat(62)}…`);
  assert.equal(excerpt("😀".repeat(40)), `${"😀".repeat(31)}…`);
  assert.equal(excerpt("abcdef", 5), "ab…");
});
