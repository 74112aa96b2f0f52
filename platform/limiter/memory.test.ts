import assert from "node:assert/strict";
import { test } from "node:test";
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
  const values = createExpiring<number>(() => hand.now());
  values.set("lasting", 1, hand.now() + 1_000_000);
  for (let n = 0; n < 100_000; n++) {
    values.set(`key-${n}`, n, hand.now() + 10);
    hand.advance(1);
  }
  assert.equal(values.get("lasting"), 1);
  assert.equal(values.get("key-0"), undefined);
  assert.ok(values.size < 2_000, `${values.size}`);
});
