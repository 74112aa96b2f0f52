import type { Clock } from "../clock.ts";

/**
 * Decides when a server that does not answer heartbeats is gone: two intervals after its last frame,
 * when heartbeats are sent every half interval.
 *
 * Only an unanswered heartbeat counts. A timer that fires late (a hidden tab has its timers once a
 * minute, a device may have slept) has sent no heartbeat, so the server had nothing to answer, and an
 * answer may wait behind the timer: the server then has until the next heartbeat.
 */
export class ServerSilence {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  /** When the first unanswered heartbeat was sent; undefined when all are answered. Elapsed ms. */
  #askedAtMs: number | undefined;
  /** A late timer has given the server more time already. */
  #extended = false;
  #scheduledAtMs = 0;
  #scheduledOnMs = 0;

  constructor(clock: Clock, intervalMs: number) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
  }

  /** A frame arrived. */
  heard(): void {
    this.#askedAtMs = undefined;
    this.#extended = false;
  }

  /** The timer of the next heartbeat was set, half an interval ahead. */
  scheduled(): void {
    this.#scheduledAtMs = this.#clock.elapsed();
    this.#scheduledOnMs = this.#clock.now();
  }

  /** Whether the server is gone. If not, the caller sends a heartbeat. */
  isTooLong(): boolean {
    const nowMs = this.#clock.elapsed();
    const tooLong =
      this.#askedAtMs !== undefined && nowMs - this.#askedAtMs >= 1.5 * this.#intervalMs;
    if (this.#isLate(nowMs) && !this.#extended) {
      this.#extended = true;
      this.#askedAtMs = nowMs - this.#intervalMs;
      return false;
    }
    this.#askedAtMs ??= nowMs;
    return tooLong;
  }

  /** Whether the timer fired an interval too late, by elapsed time or by the time of day. */
  #isLate(nowMs: number): boolean {
    const elapsedMs = nowMs - this.#scheduledAtMs;
    const dayMs = this.#clock.now() - this.#scheduledOnMs;
    return Math.max(elapsedMs, dayMs) >= 1.5 * this.#intervalMs;
  }
}
