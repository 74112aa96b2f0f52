import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBuckets, parseBuckets } from "./bucket-list.ts";
import { planMove, planSpread } from "./spread.ts";

const range = (first: number, count: number) =>
  Array.from({ length: count }, (_, at) => first + at);

/** Applies a spread to databases with these numbers of buckets. */
function spread(...sizes: number[]) {
  const before = (at: number) => sizes.slice(0, at).reduce((sum, size) => sum + size, 0);
  const places = sizes.map((size, at) => range(before(at), size));
  const moves = planSpread(places);
  const after = places.map((theirs) => new Set(theirs));
  let moved = 0;
  for (const { from, to, buckets } of moves) {
    for (const bucket of buckets) {
      assert.ok(after[from]!.delete(bucket));
      after[to]!.add(bucket);
      moved++;
    }
  }
  return { sizes: after.map(({ size }) => size), moved };
}

test("a spread moves the fewest buckets after which their numbers differ by at most one", () => {
  assert.deepEqual(spread(1024, 0), { sizes: [512, 512], moved: 512 });
  assert.deepEqual(spread(512, 512, 0), { sizes: [342, 341, 341], moved: 341 });
  assert.deepEqual(spread(0, 10, 3, 11), { sizes: [6, 6, 6, 6], moved: 9 });
  assert.deepEqual(spread(341, 342, 341), { sizes: [341, 342, 341], moved: 0 });
  assert.deepEqual(spread(1024), { sizes: [1024], moved: 0 });
});

test("a move takes buckets from their current databases, and leaves those of the target", () => {
  const places = [[0, 1, 2], [3, 4], [5]];
  assert.deepEqual(planMove(places, { buckets: [1, 4, 5], to: 2 }), [
    { from: 0, to: 2, buckets: [1] },
    { from: 1, to: 2, buckets: [4] },
  ]);
});

test("lists of buckets are parsed and formatted as ranges", () => {
  assert.deepEqual(parseBuckets("512, 0-3,2-4"), [0, 1, 2, 3, 4, 512]);
  assert.equal(formatBuckets([0, 1, 2, 3, 4, 512]), "0-4,512");
  assert.equal(formatBuckets([]), "");
  for (const wrong of ["", "1-", "4-3", "1024", "a", "1;2", "-1", "1,,2"])
    assert.throws(() => parseBuckets(wrong), /is not a list of buckets such as 0-340,512/, wrong);
});
