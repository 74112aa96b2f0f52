import assert from "node:assert/strict";
import { test } from "node:test";
import { orderOf, runInterleaved } from "./interleaving.ts";

test("pairs alternate which side runs first", async () => {
  assert.deepEqual([0, 1, 2].map(orderOf), [
    ["new", "old"],
    ["old", "new"],
    ["new", "old"],
  ]);
  const order: string[] = [];
  const pairs = await runInterleaved(3, async (side, pair) => {
    order.push(`${pair} ${side}`);
    return { side, pair };
  });
  assert.deepEqual(order, ["0 new", "0 old", "1 old", "1 new", "2 new", "2 old"]);
  assert.deepEqual(
    pairs,
    [0, 1, 2].map((pair) => ({ new: { side: "new", pair }, old: { side: "old", pair } })),
  );
});

test("runs of different sides never overlap", async () => {
  let running = 0;
  await runInterleaved(2, async () => {
    assert.equal(++running, 1);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return {};
  });
});

test("a run that fails ends the comparison", async () => {
  let runs = 0;
  const failing = runInterleaved(5, async () => {
    if (++runs === 2) throw new Error("the second run failed");
    return {};
  });
  await assert.rejects(failing, /the second run failed/);
  assert.equal(runs, 2);
});
