import type { Clock, Timer } from "#platform/clock.ts";

interface PendingTimer {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly callback: () => void;
  native: NodeJS.Timeout | undefined;
}

/** Longest delay that setTimeout accepts, ms. A longer timer is re-armed when it has passed. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * The system time plus an offset. It runs like the system clock. A test moves it forward, and steps its
 * time of day.
 */
export class OffsetClock implements Clock {
  #offsetMs = 0;
  #steppedMs = 0;
  /** Due time of the timer that a jump is firing: `elapsed` returns it meanwhile. */
  #firingAtMs: number | undefined;
  readonly #pending = new Set<PendingTimer>();

  /** How far `advance` has moved it, ms. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** Sum of all steps of the time of day, ms. */
  get steppedMs(): number {
    return this.#steppedMs;
  }

  now(): number {
    const aheadMs = this.elapsed() - performance.now();
    return Math.round(Date.now() + aheadMs + this.#steppedMs);
  }

  elapsed(): number {
    return this.#firingAtMs ?? performance.now() + this.#offsetMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#add({
      atMs: this.elapsed() + delayMs,
      everyMs: undefined,
      callback,
      native: undefined,
    });
  }

  every(intervalMs: number, callback: () => void): Timer {
    const atMs = this.elapsed() + intervalMs;
    return this.#add({ atMs, everyMs: intervalMs, callback, native: undefined });
  }

  /**
   * Jumps forward. Timers that became due fire before this returns, in the order of their due times,
   * and the clock shows each one's due time while it fires. An interval that became due several
   * times fires once, for the last of them, as on a machine that slept.
   */
  advance(ms: number): void {
    const untilMs = this.elapsed() + ms;
    for (;;) {
      const [next] = [...this.#pending]
        .map((timer) => ({ timer, dueMs: lastDue(timer, untilMs) }))
        .sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined || next.dueMs > untilMs) break;
      this.#firingAtMs = next.dueMs;
      this.#fire(next.timer, next.dueMs);
    }
    this.#firingAtMs = undefined;
    this.#offsetMs += ms;
    for (const timer of this.#pending) this.#arm(timer);
  }

  /**
   * Steps the time of day, forward or back, as an operator or NTP does. No time elapses: timers keep
   * their remaining time.
   */
  step(ms: number): void {
    this.#steppedMs += ms;
  }

  #add(timer: PendingTimer): Timer {
    this.#pending.add(timer);
    this.#arm(timer);
    return { stop: () => this.#stop(timer) };
  }

  #arm(timer: PendingTimer): void {
    clearTimeout(timer.native);
    const remainingMs = timer.atMs - this.elapsed();
    const check = () => {
      if (this.elapsed() < timer.atMs) this.#arm(timer);
      else this.#fire(timer, lastDue(timer, this.elapsed()));
    };
    timer.native = setTimeout(check, Math.max(0, Math.min(remainingMs, MAX_TIMEOUT_MS))).unref();
  }

  #fire(timer: PendingTimer, dueMs: number): void {
    if (timer.everyMs === undefined) this.#stop(timer);
    else {
      timer.atMs = dueMs + timer.everyMs;
      this.#arm(timer);
    }
    timer.callback();
  }

  #stop(timer: PendingTimer): void {
    clearTimeout(timer.native);
    this.#pending.delete(timer);
  }
}

/** The timer's due time; for an interval, its last due time up to `untilMs`. */
function lastDue({ atMs, everyMs }: PendingTimer, untilMs: number): number {
  if (everyMs === undefined || atMs > untilMs) return atMs;
  return atMs + Math.floor((untilMs - atMs) / everyMs) * everyMs;
}
