import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics } from "#platform/metrics.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createExpiring } from "./expiring.ts";
import { limiterSuite } from "./limiter.suite.ts";
import { createMemoryLimiter } from "./memory.ts";

const clock = new ManualClock();

limiterSuite("memory", {
  async open(t) {
    const limiter = createMemoryLimiter({ clock });
    t.after(() => limiter.close());
    return limiter;
  },
  pass: async (ms) => clock.advance(ms),
});

test("expired entries are evicted: keys that are used once do not accumulate", () => {
  const hand = new ManualClock();
  const never = () => assert.fail("no live entry is evicted");
  const values = createExpiring<number>(() => hand.now(), { maxEntries: 10_000, evicted: never });
  values.set("lasting", 1, hand.now() + 1_000_000);
  for (let n = 0; n < 100_000; n++) {
    values.set(`key-${n}`, n, hand.now() + 10);
    hand.advance(1);
  }
  assert.equal(values.get("lasting"), 1);
  assert.equal(values.get("key-0"), undefined);
  assert.ok(values.size < 2_000, `${values.size}`);
});

test("entries that do not expire are bounded: the oldest ones are evicted first", () => {
  const hand = new ManualClock();
  let evicted = 0;
  const values = createExpiring<number>(() => hand.now(), {
    maxEntries: 10_000,
    evicted: (count) => {
      evicted += count;
    },
  });
  values.set("renewed", 1, hand.now() + 1_000_000);
  for (let n = 0; n < 50_000; n++) {
    if (n % 5_000 === 0) values.set("renewed", n, hand.now() + 1_000_000);
    values.set(`key-${n}`, n, hand.now() + 1_000_000);
    assert.ok(values.size <= 10_000, `${values.size}`);
  }
  assert.equal(values.get("renewed"), 45_000);
  assert.equal(values.get("key-40999"), undefined);
  assert.equal(values.get("key-49999"), 49_999);
  assert.equal(values.size + evicted, 50_001);
});

test("many keys of one budget or penalty do not evict the keys of another", async (t) => {
  const metrics = new Metrics();
  const limiter = createMemoryLimiter({ clock: new ManualClock(), metrics, maxKeys: 1_000 });
  t.after(() => limiter.close());
  const lasting = { name: "lasting", points: 1, windowMs: 60_000 };
  const flooded = { ...lasting, name: "flooded" };
  const delays = { freeFailures: 1, firstWaitMs: 1_000, longestWaitMs: 1_000, forgetMs: 60_000 };
  const wrong = { ...delays, name: "wrong" };
  await limiter.take(lasting, "ana");
  await limiter.take(flooded, "ana");
  await limiter.penalize(wrong, "ana");
  for (let n = 0; n < 2_000; n++) {
    await limiter.take(flooded, `key-${n}`);
    await limiter.penalize({ ...delays, name: "guesses" }, `key-${n}`);
  }
  assert.equal((await limiter.take(lasting, "ana")).allowed, false);
  assert.equal((await limiter.take(flooded, "ana")).allowed, true);
  assert.equal((await limiter.take(flooded, "key-1999")).allowed, false);
  assert.equal(await limiter.waiting(wrong, "ana"), 1_000);
  assert.match(await metrics.text(), /lucky_limiter_evicted_total\{name="flooded"\} [1-9]/);
});

test("a step of the time of day ends no window and no delay, and prolongs none", async (t) => {
  const hand = new ManualClock();
  const limiter = createMemoryLimiter({ clock: hand });
  t.after(() => limiter.close());
  const budget = { name: "calls", points: 1, windowMs: 60_000 };
  const wrong = {
    name: "wrong",
    freeFailures: 1,
    firstWaitMs: 60_000,
    longestWaitMs: 60_000,
    forgetMs: 60_000,
  };
  for (const stepMs of [3_600_000, -3_600_000]) {
    await limiter.take(budget, "ana");
    await limiter.penalize(wrong, "ana");
    hand.step(stepMs);
    const refused = { allowed: false, retryAfterMs: 60_000 };
    assert.deepEqual(await limiter.take(budget, "ana"), refused);
    assert.equal(await limiter.waiting(wrong, "ana"), 60_000);
    hand.advance(60_000);
    assert.equal((await limiter.take(budget, "ana", 0)).allowed, true);
    assert.equal(await limiter.waiting(wrong, "ana"), 0);
  }
});
