import type { Clock, Timer } from "#platform/clock.ts";

/** A clock that a test moves by hand. Timers ring in the order of their times. */
export class ManualClock implements Clock {
  #now: number;
  #putBackMs = 0;
  readonly #timers = new Set<{ at: number; every: number | undefined; ring: () => void }>();

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now + this.#putBackMs;
  }

  after(delayMs: number, ring: () => void): Timer {
    return this.#add({ at: this.#now + delayMs, every: undefined, ring });
  }

  every(intervalMs: number, ring: () => void): Timer {
    return this.#add({ at: this.#now + intervalMs, every: intervalMs, ring });
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Moves time forward and rings what is due on the way. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > until) break;
      this.#now = next.at;
      if (next.every === undefined) this.#timers.delete(next);
      else next.at += next.every;
      next.ring();
    }
    this.#now = until;
  }

  /** Sets the time back, as an operator might; what waits still waits for as long as it did. */
  putBack(ms: number): void {
    this.#now -= ms;
    this.#putBackMs += ms;
    for (const timer of this.#timers) timer.at -= ms;
  }

  #add(timer: { at: number; every: number | undefined; ring: () => void }): Timer {
    this.#timers.add(timer);
    return { stop: () => void this.#timers.delete(timer) };
  }
}
