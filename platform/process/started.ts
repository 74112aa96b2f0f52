/** Stop functions of the parts that were started so far; they run in reverse order. */
export interface Started {
  /** Adds the stop function of a part that has just started. */
  push(stop: () => Promise<void> | void): void;
  /**
   * Stops all parts, the last started first, also when one of them fails to stop. Rejects with the
   * error of the part that failed, or with an AggregateError. Idempotent.
   */
  stop(): Promise<void>;
}

/**
 * Starts several parts. When a step fails, the parts that started before it are stopped, and the
 * error is rethrown: no part keeps running.
 */
export async function startAllOrNothing<T>(steps: (started: Started) => Promise<T>): Promise<T> {
  const started = createStarted();
  try {
    return await steps(started);
  } catch (error) {
    // Operators need the first error; a failed stop would hide it.
    await started.stop().catch(() => {});
    throw error;
  }
}

function createStarted(): Started {
  const stops: (() => Promise<void> | void)[] = [];
  let stopping: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    const failed: unknown[] = [];
    for (let stop = stops.pop(); stop; stop = stops.pop()) {
      try {
        await stop();
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length === 1) throw failed[0];
    if (failed.length > 1) throw new AggregateError(failed, "several parts failed to stop");
  }

  return {
    push: (stop) => void stops.push(stop),
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
  };
}
