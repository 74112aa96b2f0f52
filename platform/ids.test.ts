import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ManualClock } from "../test/clock/manual-clock.ts";
import { reasonOf } from "./errors.ts";
import { createIds, ID_EPOCH_MS, type Ids, parseId } from "./ids.ts";

// Takes half of the ids by `next`, half by `take`.
const take = (ids: Ids, count: number) => [
  ...Array.from({ length: count - Math.floor(count / 2) }, () => BigInt(ids.next())),
  ...ids.take(Math.floor(count / 2)),
];

function assertAscending(values: readonly bigint[]) {
  for (let at = 1; at < values.length; at += 1)
    assert.ok(values[at]! > values[at - 1]!, `id ${at} is not greater than its predecessor`);
}

test("100,000 ids ascend strictly while the clock stands still", () => {
  const ids = createIds({ worker: () => 1023, clock: new ManualClock() });
  assertAscending(take(ids, 100_000));
});

test("an id contains the time, the worker number and the counter", () => {
  const clock = new ManualClock();
  const ids = createIds({ worker: () => 517, clock });
  ids.next();
  const id = BigInt(ids.next());
  assert.equal(Number(id >> 22n) + ID_EPOCH_MS, clock.now());
  assert.equal((id >> 12n) & 1023n, 517n);
  assert.equal(id & 4095n, 1n);
});

test("ids are positive 64-bit integers until 2094", () => {
  const clock = new ManualClock(ID_EPOCH_MS + 2 ** 41 - 1);
  const id = BigInt(createIds({ worker: () => 1023, clock }).next());
  assert.ok(id > 0n && id < 2n ** 63n);
  assert.equal(new Date(clock.now()).getUTCFullYear(), 2094);
});

test("a clock that steps back by up to a second causes no duplicate id", () => {
  const clock = new ManualClock();
  const ids = createIds({ worker: () => 3, clock });
  const before = take(ids, 5_000);
  clock.advance(-900);
  const during = take(ids, 5_000);
  clock.advance(2_000);
  const all = [...before, ...during, ...take(ids, 5_000)];
  assertAscending(all);
  assert.equal(new Set(all).size, 15_000);
});

test("after a larger step back there are no ids until the clock catches up", () => {
  const clock = new ManualClock();
  const ids = createIds({ worker: () => 3, clock });
  const before = take(ids, 10);
  clock.advance(-60_000);
  assert.throws(
    () => ids.next(),
    (error) => reasonOf(error) === ErrorReason.UNAVAILABLE,
  );
  clock.advance(59_500);
  assertAscending([...before, ...take(ids, 10)]);
});

test("two workers never create the same id", () => {
  const clock = new ManualClock();
  const one = take(createIds({ worker: () => 1, clock }), 10_000);
  const other = take(createIds({ worker: () => 2, clock }), 10_000);
  assert.equal(new Set([...one, ...other]).size, 20_000);
});

test("an id in a text is a positive 64-bit integer, and nothing else", () => {
  for (const text of ["1", "300", "9223372036854775807"]) assert.equal(parseId(text), BigInt(text));
  for (const text of ["", "0", "-1", "01", "1.5", "1e3", "9223372036854775808", "1".repeat(20)])
    assert.equal(parseId(text), undefined, text);
});
