import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";

/** Resolves after the time, or when the signal aborts. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      timer.stop();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = clock.after(ms, end);
    signal?.addEventListener("abort", end);
  });
}

/**
 * Waits for work with a time-out. Returns whether the work has ended; rejects when it rejected in
 * time. After the time-out the work continues, and its error is ignored.
 */
export async function endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, ms, false);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface ReachOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Whether the error of an attempt says that the backend is away. */
  readonly isAway: (error: unknown) => boolean;
  /**
   * Aborts the wait, which rejects with its reason. Undefined: the first failure is not retried.
   */
  readonly stopping: AbortSignal | undefined;
}

/** Back-off after the first attempt, ms; it doubles up to the longest one. */
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;

/**
 * Runs a step of a start that needs a backend, and repeats it with a back-off while the backend is
 * away. Logs one line when the wait begins and one when it ends. Rejects with any other error.
 */
export async function whenReachable<T>(
  backend: string,
  step: () => Promise<T>,
  { clock, log, isAway, stopping }: ReachOptions,
): Promise<T> {
  const beganMs = clock.elapsed();
  // The timers of the clock do not keep a process alive that does not listen yet.
  const alive = setInterval(() => {}, LONGEST_BACKOFF_MS);
  try {
    for (let attempt = 0; ; attempt++) {
      stopping?.throwIfAborted();
      try {
        const result = await step();
        if (attempt > 0)
          log.info({ event: "waited", backend, ms: Math.round(clock.elapsed() - beganMs) });
        return result;
      } catch (err) {
        if (stopping === undefined || !isAway(err)) throw err;
        if (attempt === 0) log.warn({ event: "waiting", backend, err });
      }
      await pause(clock, Math.min(FIRST_BACKOFF_MS * 2 ** attempt, LONGEST_BACKOFF_MS), stopping);
    }
  } finally {
    clearInterval(alive);
  }
}
