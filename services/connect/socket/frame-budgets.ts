import type { TokenBucket } from "./token-bucket.ts";

interface FrameRate {
  readonly framesPerSecond: number;
  readonly framesBurst: number;
}

/** The budget of a user's frames, and the number of sessions that use it. */
interface Shared {
  readonly frames: TokenBucket;
  sessions: number;
}

/**
 * The budgets of frames on this instance: all sessions of a user share one. It is kept after the
 * user's last session until it is full again, so that a reconnect does not refill it.
 */
export class FrameBudgets {
  readonly #config: FrameRate;
  readonly #byUser = new Map<string, Shared>();
  /** Users without a session, and when their budgets are full at the latest; the oldest first. */
  readonly #refilling = new Map<string, number>();

  constructor(config: FrameRate) {
    this.#config = config;
  }

  /** Number of users with a budget. */
  get size(): number {
    return this.#byUser.size;
  }

  /** The budget that a new session of the user shares; `own` when it is the user's first. */
  join(userId: string, own: TokenBucket, nowMs: number): TokenBucket {
    this.#forgetRefilled(nowMs);
    const shared = this.#byUser.get(userId);
    if (shared === undefined) {
      this.#byUser.set(userId, { frames: own, sessions: 1 });
      return own;
    }
    shared.sessions += 1;
    this.#refilling.delete(userId);
    return shared.frames;
  }

  /** A session that has joined is closed. */
  leave(userId: string, nowMs: number): void {
    this.#forgetRefilled(nowMs);
    const shared = this.#byUser.get(userId);
    if (shared === undefined) return;
    shared.sessions -= 1;
    if (shared.sessions === 0) this.#refilling.set(userId, nowMs + this.#refillMs());
  }

  #refillMs(): number {
    return Math.ceil((this.#config.framesBurst * 1_000) / this.#config.framesPerSecond);
  }

  /** Amortised constant cost: each budget is forgotten once. */
  #forgetRefilled(nowMs: number): void {
    for (const [userId, fullAtMs] of this.#refilling) {
      if (fullAtMs > nowMs) return;
      this.#refilling.delete(userId);
      this.#byUser.delete(userId);
    }
  }
}
