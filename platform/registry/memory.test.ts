import type { Clock, Timer } from "#platform/clock.ts";
import { createHub, createMemoryRegistry } from "./memory.ts";
import { registrySuite, SeatClock } from "./registry.suite.ts";

registrySuite("memory", {
  async open(t) {
    const time = new Time();
    const hub = createHub();
    return async () => {
      const clock = new SeatClock(time);
      const registry = createMemoryRegistry({ clock, hub });
      t.after(() => registry.close());
      return {
        registry,
        async lapse() {
          clock.hold();
          time.pass(16_000);
        },
        resume: () => clock.resume(),
      };
    };
  },
});

/** Time that passes by hand, second by second. */
class Time implements Clock {
  readonly #repeated = new Set<{ intervalMs: number; nextMs: number; ring: () => void }>();
  #now = 0;

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now;
  }

  after(): Timer {
    throw new Error("the memory registry waits for nothing");
  }

  every(intervalMs: number, ring: () => void): Timer {
    const entry = { intervalMs, nextMs: this.#now + intervalMs, ring };
    this.#repeated.add(entry);
    return { stop: () => this.#repeated.delete(entry) };
  }

  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1_000) {
      this.#now += 1_000;
      for (const entry of this.#repeated) {
        if (entry.nextMs > this.#now) continue;
        entry.nextMs += entry.intervalMs;
        entry.ring();
      }
    }
  }
}
