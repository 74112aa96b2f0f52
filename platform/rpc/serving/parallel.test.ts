import assert from "node:assert/strict";
import { test } from "node:test";
import { atMost } from "./parallel.ts";

test("at most the maximum of works run at once; the others start in order, also after a failure", async () => {
  const run = atMost(2);
  const started: number[] = [];
  const works = Array.from({ length: 5 }, () => Promise.withResolvers<number>());
  const results = works.map(({ promise }, i) =>
    run(() => {
      started.push(i);
      return promise;
    }).catch((error: Error) => error.message),
  );
  assert.deepEqual(started, [0, 1]);
  works[1]!.reject(new Error("no"));
  assert.equal(await results[1], "no");
  assert.deepEqual(started, [0, 1, 2]);
  for (const [i, { resolve }] of works.entries()) resolve(i);
  assert.deepEqual(await Promise.all(results), [0, "no", 2, 3, 4]);
  assert.deepEqual(started, [0, 1, 2, 3, 4]);
  assert.equal(await run(async () => "free"), "free");
});
