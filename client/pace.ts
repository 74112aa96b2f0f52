import type { Clock } from "./clock.ts";

/** Keeps below a number of frames a second: `burst` at once, then one at a time. */
export class Pace {
  readonly #clock: Clock;
  readonly #perMs: number;
  readonly #burst: number;
  #left: number;
  #countedAtMs: number;

  constructor(clock: Clock, bounds: { perSecond: number; burst: number }) {
    this.#clock = clock;
    this.#perMs = bounds.perSecond / 1_000;
    this.#burst = bounds.burst;
    this.#left = bounds.burst;
    this.#countedAtMs = clock.now();
  }

  /** Takes one frame: 0 when it may go now, else in how many milliseconds to ask again. */
  take(): number {
    const now = this.#clock.now();
    const earned = Math.max(0, now - this.#countedAtMs) * this.#perMs;
    this.#left = Math.min(this.#burst, this.#left + earned);
    this.#countedAtMs = now;
    if (this.#left < 1) return Math.ceil((1 - this.#left) / this.#perMs);
    this.#left--;
    return 0;
  }
}
