import assert from "node:assert/strict";
import { test } from "node:test";
import { readLastLine } from "./last-line.ts";

test("figures are the JSON object in the last line, after any other output", () => {
  const stdout = '\n  delivered_per_s   9\n{"delivered_per_s":1}\n\n{"delivered_per_s":2}\n';
  assert.deepEqual(readLastLine(stdout), { delivered_per_s: 2 });
});

test("output without a JSON object in its last line has no figures", () => {
  for (const stdout of ["", "sending for 2 s\n", "{broken\n", "12\n"]) {
    assert.equal(readLastLine(stdout), undefined, JSON.stringify(stdout));
  }
});
