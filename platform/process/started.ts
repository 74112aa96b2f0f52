import { endsWithin } from "#platform/waiting.ts";

/**
 * Time-out of the stop of all parts, ms. It is below the time-out of a stopping process, and longer
 * than every drain by default.
 */
const STOP_MS = 12_000;
/** Time-out of each remaining part after STOP_MS has passed, ms. */
const LATE_PART_MS = 100;

/** Stop functions of the parts that were started so far; they run in reverse order. */
export interface Started {
  /** Adds the stop function of a part that has just started. */
  push(stop: () => Promise<void> | void): void;
  /**
   * Stops all parts, the last started first, also when one of them fails to stop. A part that does not
   * stop in time, because its backend does not answer, ends with the process. Rejects with
   * the error of the part that failed, or with an AggregateError. Idempotent.
   */
  stop(): Promise<void>;
  /** Parts that did not stop in time. */
  readonly unfinished: number;
}

/**
 * Starts several parts. When a step fails, the parts that started before it are stopped, and the
 * error is rethrown: no part keeps running.
 */
export async function startAllOrNothing<T>(
  steps: (started: Started) => Promise<T>,
  { stopMs = STOP_MS }: { readonly stopMs?: number } = {},
): Promise<T> {
  const started = createStarted(stopMs);
  try {
    return await steps(started);
  } catch (error) {
    // Operators need the first error; a failed stop would hide it.
    await started.stop().catch(() => {});
    throw error;
  }
}

function createStarted(stopMs: number): Started {
  const stops: (() => Promise<void> | void)[] = [];
  let stopping: Promise<void> | undefined;
  let unfinished = 0;

  async function stopAll(): Promise<void> {
    const failed: unknown[] = [];
    const untilMs = performance.now() + stopMs;
    for (let stop = stops.pop(); stop; stop = stops.pop()) {
      const leftMs = Math.max(untilMs - performance.now(), LATE_PART_MS);
      try {
        if (!(await endsWithin(leftMs, (async () => stop())()))) unfinished += 1;
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length === 1) throw failed[0];
    if (failed.length > 1) throw new AggregateError(failed, "several parts failed to stop");
  }

  return {
    push: (stop) => void stops.push(stop),
    get unfinished() {
      return unfinished;
    },
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
  };
}
