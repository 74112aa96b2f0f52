import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { allTimesOf } from "#platform/ids.fixture.ts";
import { createIds } from "#platform/ids.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createIdPermutation } from "./id-permutation.ts";

const END = 1n << 63n;

/** 32 bytes that depend on a seed only. */
const seeded = (seed: string) => createHash("sha256").update(seed).digest();
const seededId = (seed: string) => seeded(seed).readBigUInt64BE() >> 1n || 1n;

/** Fails with a probability below 10^-6 for a fair coin: 5 standard deviations. */
function assertHalf(count: number, of: number, what: string): void {
  const deviation = Math.abs(count - of / 2) / (Math.sqrt(of) / 2);
  assert.ok(deviation < 5, `${what}: ${count} of ${of}`);
}

test("the permutation is a bijection of the positive 63-bit integers", () => {
  for (const seed of ["a", "b", "c"]) {
    const { apply, invert } = createIdPermutation(seeded(seed));
    const edges = [1n, 2n, 3n, END - 2n, END - 1n, 1n << 31n, 1n << 32n];
    const ids = [...edges, ...Array.from({ length: 200 }, (_, at) => seededId(`${seed} ${at}`))];
    const permuted = ids.map(apply);
    assert.equal(new Set(permuted).size, new Set(ids).size);
    for (const [at, id] of permuted.entries()) {
      assert.ok(id > 0n && id < END);
      assert.equal(invert(id), ids[at]);
      assert.equal(apply(invert(ids[at]!)), ids[at]);
    }
  }
});

test("no id becomes 0, and 0 is not an id", () => {
  const { apply, invert } = createIdPermutation(seeded("zero"));
  for (const id of [0n, -1n, END]) {
    assert.throws(() => apply(id), RangeError);
    assert.throws(() => invert(id), RangeError);
  }
});

test("the ids of two snowflakes made one after the other do not reveal their order", () => {
  const ids = createIds({ window: allTimesOf(7), clock: new ManualClock() });
  const { apply } = createIdPermutation(seeded("order"));
  const made = ids.take(2_001).map(apply);
  const pairs = made.length - 1;
  let ascending = 0;
  const changes = new Array<number>(63).fill(0);
  for (let at = 0; at < pairs; at++) {
    const [one, next] = [made[at]!, made[at + 1]!];
    if (next > one) ascending++;
    for (let bit = 0; bit < 63; bit++) if (((one ^ next) >> BigInt(bit)) & 1n) changes[bit]!++;
  }
  assertHalf(ascending, pairs, "pairs in ascending order");
  for (const [bit, count] of changes.entries()) assertHalf(count, pairs, `changes of bit ${bit}`);
});

test("another key makes other ids", () => {
  const [one, other] = ["one", "other"].map((seed) => createIdPermutation(seeded(seed)));
  for (let id = 1n; id < 100n; id++) assert.notEqual(one!.apply(id), other!.apply(id));
});
