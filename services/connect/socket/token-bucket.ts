/**
 * Rate limit: `perSecond` tokens a second with bursts of at most `burst`. The caller passes the
 * time.
 */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #refilledAtMs: number;

  constructor(options: { perSecond: number; burst: number; nowMs: number }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#tokens = options.burst;
    this.#refilledAtMs = options.nowMs;
  }

  /** Maximum tokens. */
  get burst(): number {
    return this.#burst;
  }

  /** Takes `count` tokens. Returns false and takes none when fewer are left. */
  take(count: number, nowMs: number): boolean {
    const passedMs = Math.max(0, nowMs - this.#refilledAtMs);
    this.#refilledAtMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + (passedMs * this.#perSecond) / 1_000);
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }
}
