/** Delays between tries: exponential with full jitter, so that many clients do not come at once. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  readonly #random: () => number;
  #tries = 0;

  /** `random` gives numbers from 0 to below 1. */
  constructor(options: { firstMs: number; longestMs: number; random?: () => number }) {
    this.#firstMs = options.firstMs;
    this.#longestMs = options.longestMs;
    this.#random = options.random ?? Math.random;
  }

  /** The next delay, milliseconds, at least `atLeastMs`. */
  next(atLeastMs = 0): number {
    const ceilingMs = Math.min(this.#longestMs, this.#firstMs * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 30);
    return Math.max(atLeastMs, Math.round(this.#random() * ceilingMs));
  }

  /** Things went well: the next delay is a short one again. */
  reset(): void {
    this.#tries = 0;
  }
}
