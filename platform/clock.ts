/** A timer that can be stopped. `stop` is idempotent and does nothing after the timer fired. */
export interface Timer {
  stop(): void;
}

/** Time as a dependency, so that tests can control it. All values are milliseconds. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Milliseconds since an arbitrary moment, with fractions, to measure durations. The value never
   * decreases, even when the system time changes, and may not advance while the machine sleeps.
   */
  elapsed(): number;
  /** Calls `callback` once, after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
  /** Calls `callback` every `intervalMs` until stopped. Does not keep the process alive. */
  every(intervalMs: number, callback: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return { stop: () => clearTimeout(timer) };
  },
  every(intervalMs, callback) {
    const timer = setInterval(callback, intervalMs);
    timer.unref();
    return { stop: () => clearInterval(timer) };
  },
};
