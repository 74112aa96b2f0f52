import assert from "node:assert/strict";
import { test } from "node:test";
import { type Flags, type FlagTable, readFlags } from "./flags.ts";

const small = { users: { default: "400", doc: "users" } } satisfies FlagTable;
const large = {
  ...small,
  rate: { default: "", doc: "messages a second" },
  deep: { default: undefined, doc: "a switch" },
} satisfies FlagTable;

test("flags have the given values, and otherwise their defaults", () => {
  const flags = readFlags(large, ["--rate", "5", "--deep"]);
  assert.equal(flags.number("users"), 400);
  assert.equal(flags.number("rate"), 5);
  assert.equal(flags.text("rate"), "5");
  assert.equal(flags.on("deep"), true);
  assert.equal(readFlags(large, []).on("deep"), false);
});

test("an unknown flag is refused, and so is a value that is not a number or too small", () => {
  assert.throws(() => readFlags(small, ["--rate", "5"]), /--rate/);
  for (const value of ["x", "0", "Infinity"]) {
    const flags = readFlags(small, [`--users=${value}`]);
    assert.throws(() => flags.number("users"), /--users must be a number, at least 1/);
  }
  assert.throws(() => readFlags(large, []).number("users", 500), /at least 500/);
});

test("the types refuse to read a flag that is not declared, or not of that kind", () => {
  // The check of types is the test: `tsc` reports each line below that begins to compile, because its
  // directive is then unused. No assertion at run time can show what the compiler refuses.
  const flags = readFlags(small, []);
  // @ts-expect-error The table does not declare the flag "rate".
  const undeclared = () => flags.text("rate");
  // @ts-expect-error The flag "users" takes a value, so it is not a switch.
  const notSwitch = () => readFlags(large, []).on("users");
  // @ts-expect-error The flag "deep" is a switch, so it has no number.
  const notValue = () => readFlags(large, []).number("deep");
  const readsRate = (given: Flags<"users" | "rate">) => given.text("rate");
  // @ts-expect-error The function reads the flag "rate", which this table does not declare.
  const passed = () => readsRate(flags);
  const allowed = () => readsRate(readFlags(large, []));
  assert.equal(allowed(), "");
  for (const one of [undeclared, notSwitch, notValue, passed]) assert.equal(typeof one, "function");
});
