/** A timer that can be stopped. Stopping twice, or after it rang, does nothing. */
export interface Timer {
  stop(): void;
}

/** Time as a dependency, so that tests move it by hand. Milliseconds throughout. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Milliseconds since some moment, with fractions: for ages. It never goes back, whatever is done to
   * the time of day, and may stand still while the machine sleeps.
   */
  elapsed(): number;
  /** Calls `ring` once, after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, ring: () => void): Timer;
  /** Calls `ring` every `intervalMs` until stopped. Does not keep the process alive. */
  every(intervalMs: number, ring: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(delayMs, ring) {
    const timer = setTimeout(ring, delayMs);
    timer.unref();
    return { stop: () => clearTimeout(timer) };
  },
  every(intervalMs, ring) {
    const timer = setInterval(ring, intervalMs);
    timer.unref();
    return { stop: () => clearInterval(timer) };
  },
};
