import assert from "node:assert/strict";
import { test } from "node:test";
import { SmallSet } from "./small-set.ts";

const [one, two] = [{ name: "one" }, { name: "two" }];

test("it is a set, whether it holds nothing, one thing or several", () => {
  const few = new SmallSet<{ name: string }>();
  const holds = (...all: { name: string }[]) => {
    assert.deepEqual([...few], all);
    assert.equal(few.size, all.length);
  };
  holds();
  assert.equal(few.delete(one), false);
  few.add(one);
  few.add(one);
  holds(one);
  assert.equal(few.delete(two), false);
  few.add(two);
  few.add(one);
  holds(one, two);
  assert.equal(few.delete(one), true);
  assert.equal(few.delete(one), false);
  holds(two);
  assert.equal(few.delete(two), true);
  holds();
  few.add(one);
  holds(one);
});

test("what is deleted while it is gone through is not met any more", () => {
  const few = new SmallSet<{ name: string }>();
  few.add(one);
  few.add(two);
  const met: string[] = [];
  for (const { name } of few) {
    met.push(name);
    few.delete(two);
  }
  assert.deepEqual(met, ["one"]);
});
