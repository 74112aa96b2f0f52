import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type BreakerState, createBreaker, TICK_MS } from "./breaker.ts";
import { createRetryBudget } from "./retry-budget.ts";

function setUp() {
  const clock = new ManualClock();
  const states: BreakerState[] = [];
  const breaker = createBreaker({ clock, changed: (state) => void states.push(state) });
  const fail = (times: number) => {
    for (let i = 0; i < times; i++) {
      const ended = breaker.sent();
      breaker.failed(clock.elapsed());
      ended();
    }
  };
  const tick = (times: number) => {
    for (let i = 0; i < times; i++) {
      clock.advance(TICK_MS);
      breaker.tick();
    }
  };
  return { clock, states, breaker, fail, tick };
}

test("five failures without an answer open the breaker, and an answered probe closes it", () => {
  const { clock, states, breaker, fail } = setUp();
  fail(4);
  breaker.answered();
  fail(4);
  assert.equal(breaker.waitMs(true), 0);
  fail(1);
  assert.equal(breaker.waitMs(true), 500);
  clock.advance(499);
  assert.equal(breaker.waitMs(true), 1);
  clock.advance(1);
  assert.equal(breaker.waitMs(true), 0);
  const ended = breaker.sent();
  assert.equal(breaker.waitMs(true), 1_000, "one probe a second");
  breaker.answered();
  ended();
  assert.equal(breaker.waitMs(true), 0);
  assert.deepEqual(states, ["open", "half-open", "closed"]);
});

test("after a failed probe, the next one follows after a second", () => {
  const { clock, breaker, fail } = setUp();
  fail(5);
  const waits = [];
  for (let i = 0; i < 5; i++) {
    waits.push(breaker.waitMs(true));
    clock.advance(breaker.waitMs(true));
    breaker.waitMs(true);
    fail(1);
  }
  assert.deepEqual(waits, [500, 1_000, 1_000, 1_000, 1_000]);
  clock.advance(1_000);
  breaker.waitMs(true);
  breaker.answered();
  fail(5);
  assert.equal(breaker.waitMs(true), 500);
});

test("silence of three seconds opens the breaker only while calls wait, and a late answer closes it", () => {
  const { breaker, tick } = setUp();
  tick(100);
  assert.equal(breaker.state, "closed");
  breaker.sent();
  tick(6);
  breaker.answered();
  tick(6);
  assert.equal(breaker.state, "closed");
  tick(1);
  assert.equal(breaker.state, "open");
  breaker.answered();
  assert.equal(breaker.state, "closed");
});

test("calls that end before their second tick are no silence, however many there are", () => {
  const { clock, breaker } = setUp();
  for (let i = 0; i < 100; i++) {
    const ended = breaker.sent();
    clock.advance(TICK_MS);
    breaker.tick();
    ended();
  }
  assert.equal(breaker.state, "closed");
});

test("a call that may not be a probe neither is sent nor delays the probe", () => {
  const { clock, breaker, fail } = setUp();
  fail(5);
  clock.advance(500);
  assert.equal(breaker.waitMs(false), 1_000);
  assert.equal(breaker.state, "open");
  assert.equal(breaker.waitMs(true), 0);
  assert.equal(breaker.waitMs(false), 1_000);
  assert.equal(breaker.waitMs(true), 0);
});

test("the next call is a probe at once when the caller of the last one aborted it", () => {
  const { clock, breaker, fail } = setUp();
  fail(5);
  clock.advance(500);
  breaker.waitMs(true);
  const first = breaker.sent();
  assert.equal(breaker.waitMs(true), 1_000);
  first();
  assert.equal(breaker.waitMs(true), 0);
  // An older probe that ends late does not allow a second one beside the last.
  const second = breaker.sent();
  clock.advance(1_000);
  breaker.sent();
  second();
  assert.equal(breaker.waitMs(true), 1_000);
});

test("failures of calls that were sent before the probe do not prolong the time without calls", () => {
  const { clock, breaker, fail } = setUp();
  const sentAtMs = clock.elapsed();
  clock.advance(1);
  fail(5);
  clock.advance(500);
  breaker.waitMs(true);
  assert.equal(breaker.state, "half-open");
  breaker.failed(sentAtMs);
  assert.equal(breaker.state, "half-open");
});

test("retries are at most a tenth of the calls, and ten at once", () => {
  const budget = createRetryBudget();
  const take = () => {
    let taken = 0;
    while (budget.take()) taken += 1;
    return taken;
  };
  assert.equal(take(), 10);
  for (let i = 0; i < 51; i++) budget.call();
  assert.equal(take(), 5);
  for (let i = 0; i < 1_000; i++) budget.call();
  assert.equal(take(), 10);
});
