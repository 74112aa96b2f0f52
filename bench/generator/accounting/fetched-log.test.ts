import assert from "node:assert/strict";
import { test } from "node:test";
import { ReadLog } from "./fetched-log.ts";

/** The account of a log that ends at 4, of the places that came. */
function account(...sequences: bigint[]) {
  const log = new ReadLog();
  for (const sequence of sequences) log.take(sequence);
  const { entries, duplicated, outOfOrder } = log;
  return { entries, missing: log.missing(4n), duplicated, outOfOrder };
}

test("a log that comes whole and in order has nothing to report", () => {
  assert.deepEqual(account(1n, 2n, 3n, 4n), {
    entries: 4,
    missing: 0,
    duplicated: 0,
    outOfOrder: 0,
  });
});

test("an entry that is missing and one that came twice do not cancel out", () => {
  assert.deepEqual(account(1n, 3n, 3n, 4n), {
    entries: 3,
    missing: 1,
    duplicated: 1,
    outOfOrder: 0,
  });
});

test("an entry after a later one is out of order, and not missing", () => {
  assert.deepEqual(account(1n, 3n, 2n, 4n), {
    entries: 4,
    missing: 0,
    duplicated: 0,
    outOfOrder: 1,
  });
});

test("a log that ends too early misses its end", () => {
  assert.equal(account(1n, 2n).missing, 2);
});
