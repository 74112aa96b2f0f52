import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { ManualClock } from "../test/clock/manual-clock.ts";
import { reasonOf } from "./errors.ts";
import { allTimesOf } from "./ids.fixture.ts";
import { createIds, ID_END_MS, ID_EPOCH_MS, type Ids, parseId } from "./ids.ts";

// Takes half of the ids by `next`, half by `take`.
const take = (ids: Ids, count: number) => [
  ...Array.from({ length: count - Math.floor(count / 2) }, () => BigInt(ids.next())),
  ...ids.take(Math.floor(count / 2)),
];

const isUnavailable = (error: unknown) => reasonOf(error) === ErrorReason.UNAVAILABLE;

function assertAscending(values: readonly bigint[]) {
  for (let at = 1; at < values.length; at += 1)
    assert.ok(values[at]! > values[at - 1]!, `id ${at} is not greater than its predecessor`);
}

test("100,000 ids ascend strictly while the clock stands still", () => {
  const ids = createIds({ window: allTimesOf(1023), clock: new ManualClock() });
  assertAscending(take(ids, 100_000));
});

test("an id contains the time, the worker number and the counter", () => {
  const clock = new ManualClock();
  const ids = createIds({ window: allTimesOf(517), clock });
  ids.next();
  const id = BigInt(ids.next());
  assert.equal(Number(id >> 22n) + ID_EPOCH_MS, clock.now());
  assert.equal((id >> 12n) & 1023n, 517n);
  assert.equal(id & 4095n, 1n);
});

test("an id in a bucket has the bucket in its low ten bits, and no id repeats", () => {
  const clock = new ManualClock();
  const ids = createIds({ window: allTimesOf(517), clock });
  const buckets = [1023, 0, 7, 7, 512, 7, 7, 7, 0];
  const made = ids.inBuckets(buckets);
  assert.deepEqual(
    made.map((id) => Number(id & 1023n)),
    buckets,
  );
  const others = [ids.take(3), ids.inBuckets([5]), ids.take(5_000), ids.inBuckets([5, 4])].flat();
  assert.equal(new Set([...made, ...others]).size, made.length + others.length);
  assertAscending([made.reduce((a, b) => (a > b ? a : b)), ...others.slice(0, 5_004)]);
});

test("a thousand ids in random buckets use fewer ids than one millisecond has", () => {
  const ids = createIds({ window: allTimesOf(1), clock: new ManualClock() });
  const [first] = ids.take(1);
  ids.inBuckets(Array.from({ length: 1_024 }, (_, at) => (at * 37) % 1_024));
  const [last] = ids.take(1);
  assert.ok((last! >> 22n) - (first! >> 22n) <= 1n);
});

test("ids are positive 64-bit integers until 2094, and then there are none", () => {
  const clock = new ManualClock(ID_END_MS - 1);
  const ids = createIds({ window: allTimesOf(1023), clock });
  const id = BigInt(ids.next());
  assert.ok(id > 0n && id < 2n ** 63n);
  assert.equal(new Date(clock.now()).getUTCFullYear(), 2094);
  assert.throws(() => ids.take(4_096), isUnavailable);
  const first = createIds({ window: allTimesOf(0), clock: new ManualClock(0) });
  assert.ok(BigInt(first.next()) > 0n);
});

test("an id from July 2032 on has 19 digits, and is read like any other", () => {
  const clock = new ManualClock(Date.UTC(2032, 6, 31));
  const ids = createIds({ window: allTimesOf(0), clock });
  const id = ids.next();
  assert.equal(id.length, 19);
  assert.equal(parseId(id), BigInt(id));
});

test("no id repeats and no call fails when the time of day steps by an hour, either way", () => {
  const clock = new ManualClock();
  const ids = createIds({ window: allTimesOf(3), clock });
  const all = take(ids, 5_000);
  for (const stepMs of [-3_600_000, 3_600_000, 3_600_000, -3_600_000]) {
    clock.step(stepMs);
    all.push(...take(ids, 5_000));
    clock.advance(1_000);
    all.push(...take(ids, 5_000));
  }
  assertAscending(all);
});

test("ids stay in the reserved times, also when the time of day steps beyond them", () => {
  const clock = new ManualClock();
  const fromMs = clock.now();
  const ids = createIds({
    window: () => ({ worker: 3, fromMs, untilMs: fromMs + 3 }),
    clock,
  });
  clock.step(3_600_000);
  const all = take(ids, 3 * 4_096);
  assertAscending(all);
  assert.equal(Number(all[0]! >> 22n) + ID_EPOCH_MS, fromMs);
  assert.equal(Number(all.at(-1)! >> 22n) + ID_EPOCH_MS, fromMs + 2);
  assert.throws(() => ids.next(), isUnavailable);
});

test("ids ascend when the worker number changes within a millisecond", () => {
  const clock = new ManualClock();
  let worker = 9;
  const ids = createIds({ window: () => allTimesOf(worker)(), clock });
  const all = take(ids, 10);
  worker = 2;
  assertAscending([...all, ...take(ids, 10)]);
});

test("two workers never create the same id", () => {
  const clock = new ManualClock();
  const one = take(createIds({ window: allTimesOf(1), clock }), 10_000);
  const other = take(createIds({ window: allTimesOf(2), clock }), 10_000);
  assert.equal(new Set([...one, ...other]).size, 20_000);
});

test("an id in a text is a positive 64-bit integer, and nothing else", () => {
  for (const text of ["1", "300", "9223372036854775807"]) assert.equal(parseId(text), BigInt(text));
  for (const text of ["", "0", "-1", "01", "1.5", "1e3", "9223372036854775808", "1".repeat(20)])
    assert.equal(parseId(text), undefined, text);
});
