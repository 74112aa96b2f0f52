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
      breaker.sent();
      breaker.failed(clock.elapsed());
      breaker.ended();
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
  assert.equal(breaker.waitMs(), 0);
  fail(1);
  assert.equal(breaker.waitMs(), 500);
  clock.advance(499);
  assert.equal(breaker.waitMs(), 1);
  clock.advance(1);
  assert.equal(breaker.waitMs(), 0);
  breaker.sent();
  assert.equal(breaker.waitMs(), 1_000, "one probe a second");
  breaker.answered();
  breaker.ended();
  assert.equal(breaker.waitMs(), 0);
  assert.deepEqual(states, ["open", "half-open", "closed"]);
});

test("after a failed probe, the next one follows after a second", () => {
  const { clock, breaker, fail } = setUp();
  fail(5);
  const waits = [];
  for (let i = 0; i < 5; i++) {
    waits.push(breaker.waitMs());
    clock.advance(breaker.waitMs());
    breaker.waitMs();
    fail(1);
  }
  assert.deepEqual(waits, [500, 1_000, 1_000, 1_000, 1_000]);
  clock.advance(1_000);
  breaker.waitMs();
  breaker.answered();
  fail(5);
  assert.equal(breaker.waitMs(), 500);
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

test("failures of calls that were sent before the probe do not prolong the time without calls", () => {
  const { clock, breaker, fail } = setUp();
  const sentAtMs = clock.elapsed();
  clock.advance(1);
  fail(5);
  clock.advance(500);
  breaker.waitMs();
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
