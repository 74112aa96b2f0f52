import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock, Timer } from "#platform/clock.ts";
import { ManualClock as SteppedClock } from "../../test/clock/manual-clock.ts";
import { createHub, createMemoryRegistry } from "./memory.ts";
import { ids, instance, PausableClock } from "./registry.fixture.ts";
import { registrySuite } from "./registry.suite.ts";

registrySuite("memory", {
  async open(t) {
    const time = new ManualClock();
    const hub = createHub();
    return async () => {
      const clock = new PausableClock(time);
      const registry = createMemoryRegistry({ clock, hub });
      t.after(() => registry.close());
      return {
        registry,
        async expireLeases() {
          clock.pause();
          time.advance(16_000);
        },
        resume: () => clock.resume(),
      };
    };
  },
});

/** A clock that the test advances in steps of one second. */
class ManualClock implements Clock {
  readonly #repeated = new Set<{ intervalMs: number; nextMs: number; callback: () => void }>();
  #now = 0;

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now;
  }

  after(): Timer {
    throw new Error("the memory registry uses no one-shot timer");
  }

  every(intervalMs: number, callback: () => void): Timer {
    const entry = { intervalMs, nextMs: this.#now + intervalMs, callback };
    this.#repeated.add(entry);
    return { stop: () => this.#repeated.delete(entry) };
  }

  advance(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1_000) {
      this.#now += 1_000;
      for (const entry of this.#repeated) {
        if (entry.nextMs > this.#now) continue;
        entry.nextMs += entry.intervalMs;
        entry.callback();
      }
    }
  }
}

test("a step of the time of day expires no lease", async (t) => {
  const clock = new SteppedClock();
  const registry = createMemoryRegistry({ clock });
  t.after(() => registry.close());
  await registry.announce(instance("connect-0"), () => assert.fail("the lease was lost"));
  for (const stepMs of [3_600_000, -7_200_000]) {
    clock.step(stepMs);
    assert.deepEqual(ids(await registry.instances("connect")), ["connect-0"]);
    clock.advance(5_000);
  }
});
