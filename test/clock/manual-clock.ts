import type { Clock, Timer } from "#platform/clock.ts";

/**
 * A fake clock that moves only when a test moves it. Timers fire in the order of their due times.
 */
export class ManualClock implements Clock {
  #now: number;
  #steppedMs = 0;
  readonly #timers = new Set<{ at: number; every: number | undefined; callback: () => void }>();

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now - this.#steppedMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#add({ at: this.#now + delayMs, every: undefined, callback });
  }

  every(intervalMs: number, callback: () => void): Timer {
    return this.#add({ at: this.#now + intervalMs, every: intervalMs, callback });
  }

  /** Number of pending timers. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Moves time forward and fires each timer that becomes due, at its due time. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > until) break;
      this.#now = next.at;
      if (next.every === undefined) this.#timers.delete(next);
      else next.at += next.every;
      next.callback();
    }
    this.#now = until;
  }

  /**
   * Steps the time of day, forward or back, as an operator or NTP does. No time elapses: timers keep
   * their remaining time.
   */
  step(ms: number): void {
    this.#now += ms;
    this.#steppedMs += ms;
    for (const timer of this.#timers) timer.at += ms;
  }

  #add(timer: { at: number; every: number | undefined; callback: () => void }): Timer {
    this.#timers.add(timer);
    return { stop: () => void this.#timers.delete(timer) };
  }
}
