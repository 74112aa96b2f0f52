import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { FlushLoop } from "./flush-loop.ts";

/** A loop over collected numbers; its flushes end when the test ends them. */
function setUp(inFlight?: number) {
  const clock = new ManualClock();
  const flushed: number[][] = [];
  const endings: PromiseWithResolvers<void>[] = [];
  let waiting: number[] = [];
  const loop = new FlushLoop({
    clock,
    ...(inFlight === undefined ? {} : { inFlight }),
    flush() {
      flushed.push(waiting);
      waiting = [];
      const ending = Promise.withResolvers<void>();
      endings.push(ending);
      return ending.promise;
    },
  });
  return {
    clock,
    loop,
    flushed,
    endings,
    collect: (...items: number[]) => void waiting.push(...items),
    async end() {
      endings.shift()!.resolve();
      await turn();
    },
  };
}

test("a flush that is scheduled without delay has all items of the turn", async () => {
  const { loop, flushed, collect } = setUp();
  collect(1);
  loop.schedule(0);
  collect(2);
  loop.schedule(0);
  assert.deepEqual(flushed, []);
  await turn();
  assert.deepEqual(flushed, [[1, 2]]);
});

test("a scheduled flush starts after its delay", () => {
  const { clock, loop, flushed } = setUp();
  loop.schedule(25);
  clock.advance(24);
  assert.equal(flushed.length, 0);
  clock.advance(1);
  assert.equal(flushed.length, 1);
});

test("an earlier due time shortens the delay, and a later one does not extend it", () => {
  const { clock, loop, flushed } = setUp();
  loop.schedule(1_000);
  clock.advance(900);
  loop.schedule(25);
  loop.schedule(500);
  clock.advance(24);
  assert.equal(flushed.length, 0);
  clock.advance(1);
  assert.equal(flushed.length, 1);
  assert.equal(clock.waiting, 0);
});

test("a delay is not extended when the time of day is set back", () => {
  const { clock, loop, flushed } = setUp();
  loop.schedule(25);
  clock.step(-3_600_000);
  loop.schedule(25);
  clock.advance(25);
  assert.equal(flushed.length, 1);
});

test("an immediate flush replaces the scheduled one", async () => {
  const { clock, loop, flushed } = setUp();
  loop.schedule(25);
  void loop.flushNow();
  assert.equal(flushed.length, 1);
  assert.equal(clock.waiting, 0);
});

test("requests during a flush share one more flush after it", async () => {
  const { clock, loop, flushed, collect, end } = setUp();
  void loop.flushNow();
  collect(1);
  void loop.flushNow();
  collect(2);
  loop.schedule(25);
  clock.advance(25);
  await turn();
  assert.deepEqual(flushed, [[]]);
  await end();
  assert.deepEqual(flushed, [[], [1, 2]]);
  await end();
  assert.equal(flushed.length, 2);
  assert.equal(loop.flushing, false);
});

test("a flush that is scheduled during another keeps its delay", async () => {
  const { clock, loop, flushed, end } = setUp();
  void loop.flushNow();
  loop.schedule(25);
  await end();
  clock.advance(24);
  assert.equal(flushed.length, 1);
  clock.advance(1);
  assert.equal(flushed.length, 2);
});

test("at most `inFlight` flushes are in flight", async () => {
  const { loop, flushed, end } = setUp(2);
  for (let request = 0; request < 4; request++) void loop.flushNow();
  assert.equal(flushed.length, 2);
  await end();
  assert.equal(flushed.length, 3);
  await end();
  assert.equal(flushed.length, 3);
});

test("flushNow resolves when a flush that started after the call has ended", async () => {
  const { loop, end } = setUp();
  void loop.flushNow();
  let resolved = false;
  const second = loop.flushNow().then(() => {
    resolved = true;
  });
  await end();
  assert.equal(resolved, false);
  await end();
  await second;
});

test("a failed flush rejects its request and does not stop the loop", async () => {
  const { loop, flushed, endings, collect, end } = setUp();
  const failed = loop.flushNow();
  collect(1);
  const next = loop.flushNow();
  endings.shift()!.reject(new Error("unavailable"));
  await assert.rejects(failed, /unavailable/);
  await turn();
  assert.deepEqual(flushed, [[], [1]]);
  await end();
  await next;
});

test("close flushes once, also after a flush in flight, and then ignores requests", async () => {
  const { clock, loop, flushed, collect, end } = setUp();
  loop.schedule(25);
  void loop.flushNow();
  collect(1);
  let closed = false;
  const closing = loop.close().then(() => {
    closed = true;
  });
  assert.equal(loop.closed, true);
  await end();
  assert.deepEqual(flushed, [[], [1]]);
  assert.equal(closed, false);
  await end();
  await closing;
  loop.schedule(0);
  loop.schedule(25);
  await loop.flushNow();
  clock.advance(25);
  await turn();
  assert.equal(flushed.length, 2);
});
