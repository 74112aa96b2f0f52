import assert from "node:assert/strict";
import { test } from "node:test";
import { FetchedLog } from "./fetched-log.ts";

/** Counts of a log with last sequence 4, after these sequences were fetched. */
function countsOf(...sequences: bigint[]) {
  const log = new FetchedLog();
  for (const sequence of sequences) log.take(sequence);
  const { entries, duplicated, outOfOrder } = log;
  return { entries, missing: log.missing(4n), duplicated, outOfOrder };
}

test("a complete log in order has nothing to report", () => {
  assert.deepEqual(countsOf(1n, 2n, 3n, 4n), {
    entries: 4,
    missing: 0,
    duplicated: 0,
    outOfOrder: 0,
  });
});

test("a missing entry and a duplicate do not cancel out", () => {
  assert.deepEqual(countsOf(1n, 3n, 3n, 4n), {
    entries: 3,
    missing: 1,
    duplicated: 1,
    outOfOrder: 0,
  });
});

test("an entry after a later one is out of order, and not missing", () => {
  assert.deepEqual(countsOf(1n, 3n, 2n, 4n), {
    entries: 4,
    missing: 0,
    duplicated: 0,
    outOfOrder: 1,
  });
});

test("entries that are missing at the end of a log are counted", () => {
  assert.equal(countsOf(1n, 2n).missing, 2);
});
