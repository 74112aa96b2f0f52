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

/** Whether the first type is assignable to the second. */
type Fits<A, B> = [A] extends [B] ? true : false;
type Small = ReturnType<typeof readFlags<typeof small>>;
type Large = ReturnType<typeof readFlags<typeof large>>;

test("the types refuse to read a flag that is not declared, or not of that kind", () => {
  // `tsc` compares each value with its type, so a type that accepts more does not compile.
  const undeclared: Fits<"rate", Parameters<Small["text"]>[0]> = false;
  const valueAsSwitch: Fits<"users", Parameters<Large["on"]>[0]> = false;
  const switchAsValue: Fits<"deep", Parameters<Large["number"]>[0]> = false;
  const readerOfMore: Fits<Small, Flags<"users" | "rate">> = false;
  const readerOfLess: Fits<Large, Flags<"users" | "rate">> = true;
  assert.deepEqual(
    [undeclared, valueAsSwitch, switchAsValue, readerOfMore, readerOfLess],
    [false, false, false, false, true],
  );
});
