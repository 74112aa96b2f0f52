/** Retry back-off: exponential with full jitter, so that many clients do not retry at once. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  readonly #random: () => number;
  #attempts = 0;

  /** `random` returns numbers from 0 to below 1. */
  constructor(options: { firstMs: number; longestMs: number; random?: () => number }) {
    this.#firstMs = options.firstMs;
    this.#longestMs = options.longestMs;
    this.#random = options.random ?? Math.random;
  }

  /** The next delay, milliseconds, at least `atLeastMs`. */
  next(atLeastMs = 0): number {
    const ceilingMs = Math.min(this.#longestMs, this.#firstMs * 2 ** this.#attempts);
    this.#attempts = Math.min(this.#attempts + 1, 30);
    return Math.max(atLeastMs, Math.round(this.#random() * ceilingMs));
  }

  /** Restarts at the shortest delay, after a success. */
  reset(): void {
    this.#attempts = 0;
  }
}
