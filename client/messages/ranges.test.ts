import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageRange } from "../store.ts";
import { addRange, raiseExact } from "./ranges.ts";

type Numbers = [low: number, high: number, exactTo: number];

const range = ([low, high, exactTo]: Numbers): MessageRange => {
  return { low: BigInt(low), high: BigInt(high), exactTo: BigInt(exactTo) };
};
const add = (ranges: Numbers[], added: Numbers) =>
  addRange(ranges.map(range), range(added)).map(({ low, high, exactTo }) =>
    [low, high, exactTo].map(Number),
  );

test("touching ranges that are equally exact become one", () => {
  assert.deepEqual(add([[1, 10, 30]], [11, 20, 30]), [[1, 20, 30]]);
  assert.deepEqual(
    add(
      [
        [1, 10, 30],
        [21, 30, 30],
      ],
      [11, 20, 30],
    ),
    [[1, 30, 30]],
  );
  assert.deepEqual(add([[1, 10, 10]], [11, 20, 30]), [
    [1, 10, 10],
    [11, 20, 30],
  ]);
  assert.deepEqual(add([[1, 10, 30]], [12, 20, 30]), [
    [1, 10, 30],
    [12, 20, 30],
  ]);
});

test("where ranges overlap, the later change counts", () => {
  assert.deepEqual(add([[1, 10, 10]], [8, 20, 30]), [
    [1, 7, 10],
    [8, 20, 30],
  ]);
  assert.deepEqual(add([[1, 20, 10]], [8, 10, 30]), [
    [1, 7, 10],
    [8, 10, 30],
    [11, 20, 10],
  ]);
  assert.deepEqual(add([[8, 10, 30]], [1, 20, 20]), [
    [1, 7, 20],
    [8, 10, 30],
    [11, 20, 20],
  ]);
  assert.deepEqual(add([[1, 20, 30]], [8, 10, 10]), [[1, 20, 30]]);
});

test("only messages that were exact to the beginning of the changes become exact", () => {
  const ranges = (
    [
      [1, 10, 10],
      [12, 20, 30],
      [25, 30, 90],
    ] as Numbers[]
  ).map(range);
  const raised = raiseExact(ranges, range([5, 27, 50]), 20n);
  assert.deepEqual(
    raised,
    (
      [
        [1, 10, 10],
        [12, 20, 50],
        [25, 30, 90],
      ] as Numbers[]
    ).map(range),
  );
  const parts = raiseExact(ranges, range([5, 13, 50]), 10n);
  const expected = [
    [1, 4, 10],
    [5, 10, 50],
    [12, 13, 50],
    [14, 20, 30],
    [25, 30, 90],
  ] as Numbers[];
  assert.deepEqual(parts, expected.map(range));
});
