/** Minimum of the bound, sends: after a pause of the process, some sends must still be accepted. */
const MIN_BOUND_SENDS = 1_000;
/** The bound rises by this share of its maximum with each batch that waited for a short time. */
const RISE_PER_BATCH = 0.01;

/**
 * Adaptive bound of the uplink queue: how many sends may wait, so that no send waits much longer
 * than the target. Beyond the bound, a send would be stored after its sender timed out. The bound
 * falls at once to what the current throughput allows when a batch waited too long, and rises
 * slowly.
 */
export class WaitBound {
  readonly #maxSends: number;
  readonly #waitMs: number;
  #sends: number;

  /** `maxSends`: the bound at any throughput. `waitMs`: target for the longest wait of a send. */
  constructor(maxSends: number, waitMs: number) {
    this.#maxSends = maxSends;
    this.#waitMs = waitMs;
    this.#sends = maxSends;
  }

  /** The current bound, sends. */
  get sends(): number {
    return this.#sends;
  }

  /**
   * Call this when a batch is sent, with the time that its first send waited and the number of
   * queued sends.
   */
  observe(waitedMs: number, waiting: number): void {
    if (waitedMs > this.#waitMs) {
      const fitting = Math.floor((waiting * this.#waitMs) / waitedMs);
      this.#sends = Math.min(this.#sends, Math.max(MIN_BOUND_SENDS, fitting));
    } else if (waitedMs < this.#waitMs / 2) {
      this.#sends = Math.min(
        this.#maxSends,
        this.#sends + Math.ceil(this.#maxSends * RISE_PER_BATCH),
      );
    }
  }
}
