import assert from "node:assert/strict";
import { test } from "node:test";
import { SmallSet } from "./small-set.ts";

const [one, two] = [{ name: "one" }, { name: "two" }];

test("it behaves as a set with no member, one or several", () => {
  const set = new SmallSet<{ name: string }>();
  const holds = (...all: { name: string }[]) => {
    assert.deepEqual([...set], all);
    assert.equal(set.size, all.length);
  };
  holds();
  assert.equal(set.delete(one), false);
  set.add(one);
  set.add(one);
  holds(one);
  assert.equal(set.delete(two), false);
  set.add(two);
  set.add(one);
  holds(one, two);
  assert.equal(set.delete(one), true);
  assert.equal(set.delete(one), false);
  holds(two);
  assert.equal(set.delete(two), true);
  holds();
  set.add(one);
  holds(one);
});

test("a member deleted during iteration is not visited", () => {
  const set = new SmallSet<{ name: string }>();
  set.add(one);
  set.add(two);
  const visited: string[] = [];
  for (const { name } of set) {
    visited.push(name);
    set.delete(two);
  }
  assert.deepEqual(visited, ["one"]);
});
