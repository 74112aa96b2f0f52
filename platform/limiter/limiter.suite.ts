import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Limiter } from "./limiter.ts";

/** Where the suite gets its limiters from. */
export interface LimiterWorld {
  /** A limiter that has counted nothing, closed when the test ends. */
  open(t: TestContext): Promise<Limiter>;
}

/** What every adapter of the limiter must do. */
export function limiterSuite(name: string, world: LimiterWorld): void {
  const minute = { name: "read", points: 3, windowMs: 60_000 };

  suite(`limiter: ${name}`, () => {
    test("a budget is used up, and says when there will be more", async (t) => {
      const limiter = await world.open(t);
      for (let i = 0; i < 3; i++)
        assert.deepEqual(await limiter.take(minute, "ana"), { allowed: true });
      const refused = await limiter.take(minute, "ana");
      assert.equal(refused.allowed, false);
      const { retryAfterMs } = refused as { retryAfterMs: number };
      assert.ok(retryAfterMs > 50_000 && retryAfterMs <= 60_000, `${retryAfterMs}`);
    });

    test("keys and budgets do not share points", async (t) => {
      const limiter = await world.open(t);
      const write = { ...minute, name: "write" };
      assert.equal((await limiter.take(minute, "ana", 3)).allowed, true);
      assert.equal((await limiter.take(minute, "ana")).allowed, false);
      assert.equal((await limiter.take(minute, "ben")).allowed, true);
      assert.equal((await limiter.take(write, "ana")).allowed, true);
    });

    test("points are given back when the window has passed", async (t) => {
      const limiter = await world.open(t);
      const second = { name: "second", points: 1, windowMs: 1_000 };
      assert.equal((await limiter.take(second, "ana")).allowed, true);
      const refused = await limiter.take(second, "ana");
      assert.equal(refused.allowed, false);
      await setTimeout((refused as { retryAfterMs: number }).retryAfterMs + 1);
      const again = await limiter.take(second, "ana");
      assert.equal(again.allowed, true);
    });
  });
}
