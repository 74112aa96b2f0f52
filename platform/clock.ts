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

/** Longest delay of setTimeout and setInterval, ms: they call at once for a longer one. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(delayMs, callback) {
    if (delayMs > MAX_TIMER_MS) return afterLong(delayMs, callback);
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return { stop: () => clearTimeout(timer) };
  },
  every(intervalMs, callback) {
    if (intervalMs > MAX_TIMER_MS) return everyLong(intervalMs, callback);
    const timer = setInterval(callback, intervalMs);
    timer.unref();
    return { stop: () => clearInterval(timer) };
  },
};

/** `after` by several timers. */
function afterLong(delayMs: number, callback: () => void): Timer {
  let timer = systemClock.after(MAX_TIMER_MS, () => {
    timer = systemClock.after(delayMs - MAX_TIMER_MS, callback);
  });
  return { stop: () => timer.stop() };
}

function everyLong(intervalMs: number, callback: () => void): Timer {
  const next = () =>
    afterLong(intervalMs, () => {
      timer = next();
      callback();
    });
  let timer = next();
  return { stop: () => timer.stop() };
}
