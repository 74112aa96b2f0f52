/** Sends that may always wait: a pause of the process must not shut everybody out. */
const LEAST_SENDS = 1_000;
/** Share of the most by which the bound rises again with each batch that did not wait for long. */
const RISE = 0.01;

/**
 * How many sends may wait, so that none of them waits for much longer than it should: what comes
 * beyond it would be stored late, after its sender gave up. It falls as soon as sends are seen to wait
 * for too long, to what the present speed allows, and rises slowly.
 */
export class WaitBound {
  readonly #most: number;
  readonly #waitMs: number;
  #sends: number;

  /** `most` sends at any speed; `waitMs`: how long a send should wait at most. */
  constructor(most: number, waitMs: number) {
    this.#most = most;
    this.#waitMs = waitMs;
    this.#sends = most;
  }

  /** Sends that may wait at present. */
  get sends(): number {
    return this.#sends;
  }

  /** A batch leaves whose first send waited for so long, while so many were waiting. */
  observe(waitedMs: number, waiting: number): void {
    if (waitedMs > this.#waitMs) {
      const fitting = Math.floor((waiting * this.#waitMs) / waitedMs);
      this.#sends = Math.min(this.#sends, Math.max(LEAST_SENDS, fitting));
    } else if (waitedMs < this.#waitMs / 2) {
      this.#sends = Math.min(this.#most, this.#sends + Math.ceil(this.#most * RISE));
    }
  }
}
