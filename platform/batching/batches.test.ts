import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { HandClock } from "../../test/clock.ts";
import { Batches, type BatchesOptions } from "./batches.ts";

interface Item {
  readonly key: string;
  readonly nr: number;
}

/** Batches whose journeys the test ends by hand. */
function start(options: Partial<BatchesOptions<Item>> = {}) {
  const clock = new HandClock();
  const carried: (readonly Item[])[] = [];
  const landings: (() => void)[] = [];
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
      carried.push(batch);
      return new Promise((land) => landings.push(land));
    },
    ...options,
  });
  let nr = 0;
  return {
    batches,
    carried,
    clock,
    push: (key: string, count = 1) =>
      Array.from({ length: count }, () => batches.push({ key, nr: nr++ })),
    async land() {
      landings.shift()!();
      await turn();
      await turn();
    },
  };
}

const numbers = (batch: readonly Item[]) => batch.map(({ nr }) => nr);

test("what comes in one turn of the event loop is one batch, and what comes meanwhile is the next", async () => {
  const { batches, carried, push, land } = start();
  push("a");
  push("b");
  assert.equal(batches.waiting, 2);
  await turn();
  assert.deepEqual(carried.map(numbers), [[0, 1]]);
  push("c");
  push("a");
  await turn();
  assert.equal(carried.length, 1, "little waits for the batch on its way");
  await land();
  assert.deepEqual(carried.map(numbers), [
    [0, 1],
    [2, 3],
  ]);
});

test("under load several batches are on their way, a key in one of them at most, in its order", async () => {
  const { carried, push, land } = start();
  push("a", 3);
  await turn();
  push("a", 200);
  push("b", 200);
  await turn();
  assert.equal(carried.length, 2);
  assert.ok(carried[1]!.every(({ key }) => key === "b"));
  await land();
  assert.equal(carried.length, 3);
  assert.ok(carried[2]!.every(({ key }) => key === "a"));
  const ofA = carried.flat().filter(({ key }) => key === "a");
  assert.deepEqual(
    numbers(ofA),
    numbers(ofA).toSorted((one, other) => one - other),
  );
  assert.equal(ofA.length, 203);
});

test("batches are bounded in items and bytes, and a key that does not fit goes on in the next", async () => {
  const { carried, push, land } = start({ batchCount: 5, batchBytes: 30 });
  push("a", 4);
  push("b", 2);
  await turn();
  assert.deepEqual(numbers(carried[0]!), [0, 1, 2]);
  await land();
  assert.deepEqual(numbers(carried[1]!), [4, 5, 3]);
});

test("an item larger than a batch goes alone", async () => {
  const { carried, push } = start({ batchBytes: 5 });
  push("a", 2);
  await turn();
  assert.deepEqual(numbers(carried[0]!), [0]);
});

test("when too much waits nothing more is taken", async () => {
  const { push } = start({ queueCount: 3 });
  assert.deepEqual(push("a", 4), [true, true, true, false]);
  const bytes = start({ queueBytes: 25 });
  assert.deepEqual(bytes.push("a", 3), [true, true, false]);
});

/** Batches that were on their way for so long each, until that is what is known of them. */
async function settle({ push, land, clock }: ReturnType<typeof start>, flightMs: number) {
  for (let batch = 0; batch < 200; batch++) {
    push("a");
    await turn();
    clock.advance(flightMs);
    await land();
    clock.advance(100);
  }
}

test("what comes alone leaves at once; what follows closely waits, the longer the longer a batch takes", async () => {
  for (const { flightMs, spacingMs } of [
    { flightMs: 1, spacingMs: 1.8 },
    { flightMs: 2, spacingMs: 14.8 },
  ]) {
    const started = start({ lingerMs: 50 });
    const { carried, push, land, clock } = started;
    await settle(started, flightMs);
    carried.length = 0;
    push("a");
    await turn();
    assert.equal(carried.length, 1);
    clock.advance(flightMs);
    await land();
    push("b");
    await turn();
    clock.advance(spacingMs - flightMs - 1);
    push("c");
    assert.equal(carried.length, 1);
    clock.advance(1);
    assert.equal(carried.length, 2);
    assert.equal(carried[1]!.length, 2);
    await land();
  }
});

test("batches that take long start no more than the linger time apart", async () => {
  const started = start({ lingerMs: 5 });
  const { carried, push, land, clock } = started;
  await settle(started, 80);
  carried.length = 0;
  push("a");
  await turn();
  clock.advance(1);
  await land();
  push("b");
  await turn();
  clock.advance(3);
  assert.equal(carried.length, 1);
  clock.advance(1);
  assert.equal(carried.length, 2);
});

test("without a linger time nothing waits but for what is on its way", async () => {
  const started = start({ lingerMs: 0 });
  const { carried, push, land } = started;
  await settle(started, 10);
  carried.length = 0;
  push("a");
  await turn();
  await land();
  push("b");
  await turn();
  assert.equal(carried.length, 2);
});

test("much that waits does not linger", async () => {
  const started = start({ lingerMs: 50 });
  const { carried, push, land } = started;
  await settle(started, 10);
  carried.length = 0;
  push("a");
  await turn();
  await land();
  push("b", 500);
  await turn();
  assert.equal(carried[1]!.length, 500);
});

test("items that are withdrawn are not carried, and the rest goes on", async () => {
  const { batches, carried, push, land } = start();
  push("a", 2);
  await turn();
  push("a", 2);
  push("b", 2);
  const withdrawn = batches.remove(({ key }) => key === "a");
  assert.deepEqual(numbers(withdrawn), [2, 3]);
  assert.equal(batches.waiting, 2);
  await land();
  assert.deepEqual(numbers(carried[1]!), [4, 5]);
  await land();
  await batches.idle();
  push("a");
  await turn();
  assert.equal(carried.length, 3);
});

test("idle when nothing waits and nothing is on its way", async () => {
  const { batches, push, land } = start();
  await batches.idle();
  push("a");
  let idle = false;
  const waiting = batches.idle().then(() => {
    idle = true;
  });
  await turn();
  assert.equal(idle, false);
  await land();
  await waiting;
});

test("idle when what waited is withdrawn, with nothing on its way", async () => {
  const { batches, carried, push } = start();
  push("a", 2);
  const waiting = batches.idle();
  assert.equal(batches.remove(() => true).length, 2);
  await waiting;
  await turn();
  assert.equal(carried.length, 0);
});
