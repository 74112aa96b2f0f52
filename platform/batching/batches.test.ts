import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { Batches, type BatchesOptions } from "./batches.ts";

interface Item {
  readonly key: string;
  readonly nr: number;
}

/** Batches whose flushes end when the test ends them. */
function start(options: Partial<BatchesOptions<Item>> = {}) {
  const clock = new ManualClock();
  const flushed: (readonly Item[])[] = [];
  const endings: (() => void)[] = [];
  const batches = new Batches<Item>({
    key: ({ key }) => key,
    bytes: () => 10,
    batchCount: 1_000,
    batchBytes: 1_000_000,
    queueCount: 10_000,
    queueBytes: 1_000_000,
    inFlight: 4,
    lingerMs: 0,
    clock,
    flush(batch) {
      flushed.push(batch);
      return new Promise((end) => endings.push(end));
    },
    ...options,
  });
  let nr = 0;
  return {
    batches,
    flushed,
    clock,
    push: (key: string, count = 1) =>
      Array.from({ length: count }, () => batches.push({ key, nr: nr++ })),
    async endFlush() {
      endings.shift()!();
      await turn();
      await turn();
    },
  };
}

const numbers = (batch: readonly Item[]) => batch.map(({ nr }) => nr);

test("items of one turn of the event loop form a batch; items that arrive during its flush form the next", async () => {
  const { batches, flushed, push, endFlush } = start();
  push("a");
  push("b");
  assert.equal(batches.waiting, 2);
  await turn();
  assert.deepEqual(flushed.map(numbers), [[0, 1]]);
  push("c");
  push("a");
  await turn();
  assert.equal(flushed.length, 1, "few items wait until the batch in flight ends");
  await endFlush();
  assert.deepEqual(flushed.map(numbers), [
    [0, 1],
    [2, 3],
  ]);
});

test("under load several batches are in flight, each key in at most one of them, in its order", async () => {
  const { flushed, push, endFlush } = start();
  push("a", 3);
  await turn();
  push("a", 200);
  push("b", 200);
  await turn();
  assert.equal(flushed.length, 2);
  assert.ok(flushed[1]!.every(({ key }) => key === "b"));
  await endFlush();
  assert.equal(flushed.length, 3);
  assert.ok(flushed[2]!.every(({ key }) => key === "a"));
  const ofA = flushed.flat().filter(({ key }) => key === "a");
  assert.deepEqual(
    numbers(ofA),
    numbers(ofA).toSorted((one, other) => one - other),
  );
  assert.equal(ofA.length, 203);
});

test("batches are bounded in items and bytes; the rest of a key that does not fit joins the next batch", async () => {
  const { flushed, push, endFlush } = start({ batchCount: 5, batchBytes: 30 });
  push("a", 4);
  push("b", 2);
  await turn();
  assert.deepEqual(numbers(flushed[0]!), [0, 1, 2]);
  await endFlush();
  assert.deepEqual(numbers(flushed[1]!), [4, 5, 3]);
});

test("an item larger than a batch is flushed alone", async () => {
  const { flushed, push } = start({ batchBytes: 5 });
  push("a", 2);
  await turn();
  assert.deepEqual(numbers(flushed[0]!), [0]);
});

test("a full queue refuses items, by their count and by their bytes", async () => {
  const { push } = start({ queueCount: 3 });
  assert.deepEqual(push("a", 4), [true, true, true, false]);
  const bytes = start({ queueBytes: 25 });
  assert.deepEqual(bytes.push("a", 3), [true, true, false]);
});

/** Runs batches of this duration until the moving average has settled there. */
async function settle({ push, endFlush, clock }: ReturnType<typeof start>, durationMs: number) {
  for (let batch = 0; batch < 200; batch++) {
    push("a");
    await turn();
    clock.advance(durationMs);
    await endFlush();
    clock.advance(100);
  }
}

test("a lone item is flushed at once; closely following items wait longer when batches take longer", async () => {
  for (const { durationMs, spacingMs } of [
    { durationMs: 1, spacingMs: 1.8 },
    { durationMs: 2, spacingMs: 14.8 },
  ]) {
    const started = start({ lingerMs: 50 });
    const { flushed, push, endFlush, clock } = started;
    await settle(started, durationMs);
    flushed.length = 0;
    push("a");
    await turn();
    assert.equal(flushed.length, 1);
    clock.advance(durationMs);
    await endFlush();
    push("b");
    await turn();
    clock.advance(spacingMs - durationMs - 1);
    push("c");
    assert.equal(flushed.length, 1);
    clock.advance(1);
    assert.equal(flushed.length, 2);
    assert.equal(flushed[1]!.length, 2);
    await endFlush();
  }
});

test("slow batches start at most the linger time apart", async () => {
  const started = start({ lingerMs: 5 });
  const { flushed, push, endFlush, clock } = started;
  await settle(started, 80);
  flushed.length = 0;
  push("a");
  await turn();
  clock.advance(1);
  await endFlush();
  push("b");
  await turn();
  clock.advance(3);
  assert.equal(flushed.length, 1);
  clock.advance(1);
  assert.equal(flushed.length, 2);
});

test("without a linger time items wait only for the batch in flight", async () => {
  const started = start({ lingerMs: 0 });
  const { flushed, push, endFlush } = started;
  await settle(started, 10);
  flushed.length = 0;
  push("a");
  await turn();
  await endFlush();
  push("b");
  await turn();
  assert.equal(flushed.length, 2);
});

test("many waiting items do not linger", async () => {
  const started = start({ lingerMs: 50 });
  const { flushed, push, endFlush } = started;
  await settle(started, 10);
  flushed.length = 0;
  push("a");
  await turn();
  await endFlush();
  push("b", 500);
  await turn();
  assert.equal(flushed[1]!.length, 500);
});

test("removed items are not flushed, and the other items are", async () => {
  const { batches, flushed, push, endFlush } = start();
  push("a", 2);
  await turn();
  push("a", 2);
  push("b", 2);
  const removed = batches.remove(({ key }) => key === "a");
  assert.deepEqual(numbers(removed), [2, 3]);
  assert.equal(batches.waiting, 2);
  await endFlush();
  assert.deepEqual(numbers(flushed[1]!), [4, 5]);
  await endFlush();
  await batches.idle();
  push("a");
  await turn();
  assert.equal(flushed.length, 3);
});

test("idle resolves when no item waits or is in flight", async () => {
  const { batches, push, endFlush } = start();
  await batches.idle();
  push("a");
  let idle = false;
  const waiting = batches.idle().then(() => {
    idle = true;
  });
  await turn();
  assert.equal(idle, false);
  await endFlush();
  await waiting;
});

test("idle resolves when the last waiting items are removed and no batch is in flight", async () => {
  const { batches, flushed, push } = start();
  push("a", 2);
  const waiting = batches.idle();
  assert.equal(batches.remove(() => true).length, 2);
  await waiting;
  await turn();
  assert.equal(flushed.length, 0);
});

test("a held item waits with the later items of its key, and the rest of its batch does not", async () => {
  const { batches, flushed, push, endFlush } = start({ queueCount: 4 });
  push("a", 2);
  push("b");
  await turn();
  const { promise: checked, resolve: check } = Promise.withResolvers<void>();
  batches.hold(flushed[0]!.slice(0, 2), checked);
  push("a");
  push("b");
  assert.deepEqual(push("c"), [false], "held items count as waiting");
  await endFlush();
  assert.deepEqual(flushed.map(numbers), [[0, 1, 2], [4]]);
  await endFlush();
  let idle = false;
  const ended = batches.idle().then(() => {
    idle = true;
  });
  await turn();
  assert.equal(idle, false);
  check();
  await turn();
  await turn();
  assert.deepEqual(numbers(flushed[2]!), [0, 1, 3]);
  await endFlush();
  await ended;
  assert.equal(batches.waiting, 0);
});

test("an item whose hold ends before its batch waits for the batch", async () => {
  const { batches, flushed, push, endFlush } = start();
  push("a", 2);
  await turn();
  batches.hold(flushed[0]!.slice(1), Promise.resolve());
  push("a");
  await turn();
  assert.equal(flushed.length, 1);
  await endFlush();
  assert.deepEqual(flushed.map(numbers), [
    [0, 1],
    [1, 2],
  ]);
});
