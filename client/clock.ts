/** A timer that can be stopped. Stopping it twice, or after it fired, does nothing. */
export interface Timer {
  stop(): void;
}

/** Time as a dependency, so that tests control it. All times are milliseconds. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /**
   * Milliseconds since an arbitrary moment, with fractions, to measure durations. The value never
   * decreases, even when the system time changes, and may not advance while the device sleeps.
   */
  elapsed(): number;
  /** Calls `ring` once, after `delayMs`. */
  after(delayMs: number, ring: () => void): Timer;
}

/** Longest delay of setTimeout, ms: it fires at once for a longer one. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(delayMs, ring) {
    if (delayMs > MAX_DELAY_MS) return afterLong(delayMs, ring);
    const timer = setTimeout(ring, delayMs);
    return { stop: () => clearTimeout(timer) };
  },
};

/** `after` by several timers. */
function afterLong(delayMs: number, ring: () => void): Timer {
  let timer = systemClock.after(MAX_DELAY_MS, () => {
    timer = systemClock.after(delayMs - MAX_DELAY_MS, ring);
  });
  return { stop: () => timer.stop() };
}

/** Resolves after `delayMs`, or as soon as the signal aborts. Never rejects. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      timer.stop();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    signal?.addEventListener("abort", done);
  });
}
