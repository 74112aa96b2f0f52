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

test("both runs of a pair can overlap, and the next pair waits for both", async () => {
  const running = new Set<string>();
  let most = 0;
  const pairs = await runInterleaved(
    2,
    async (side, pair) => {
      running.add(`${pair} ${side}`);
      most = Math.max(most, running.size);
      await new Promise(setImmediate);
      assert.equal(running.size, 2);
      await new Promise(setImmediate);
      running.delete(`${pair} ${side}`);
      return { side, pair };
    },
    { together: true },
  );
  assert.equal(most, 2);
  assert.deepEqual(
    pairs,
    [0, 1].map((pair) => ({ new: { side: "new", pair }, old: { side: "old", pair } })),
  );
});

test("a run that fails beside another ends the comparison after the other has ended", async () => {
  const ended: string[] = [];
  const failing = runInterleaved(
    5,
    async (side) => {
      if (side === "new") throw new Error("the new side failed");
      await new Promise(setImmediate);
      ended.push(side);
      return {};
    },
    { together: true },
  );
  await assert.rejects(failing, /the new side failed/);
  assert.deepEqual(ended, ["old"]);
});
