import assert from "node:assert/strict";
import { test } from "node:test";
import { WaitBound } from "./wait-bound.ts";

test("the bound falls at once to what the throughput allows, and rises slowly", () => {
  const bound = new WaitBound(50_000, 500);
  bound.observe(400, 20_000);
  assert.equal(bound.sends, 50_000, "no send waited for too long");
  bound.observe(1_000, 40_000);
  assert.equal(bound.sends, 20_000);
  bound.observe(400, 15_000);
  assert.equal(bound.sends, 20_000, "near the target the bound stays");
  bound.observe(100, 3_000);
  assert.equal(bound.sends, 20_500);
  for (let batch = 0; batch < 100; batch += 1) bound.observe(0, 0);
  assert.equal(bound.sends, 50_000, "never above the maximum");
});

test("the bound has a minimum, however long a send waited", () => {
  const bound = new WaitBound(50_000, 500);
  bound.observe(60_000, 50_000);
  assert.equal(bound.sends, 1_000);
});
