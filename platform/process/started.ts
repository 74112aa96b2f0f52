/** What was started so far, to be stopped in the opposite order. */
export interface Started {
  /** Adds how to stop what was just started. */
  push(stop: () => Promise<void> | void): void;
  /**
   * Stops everything, the last started first; one that fails does not keep the others running.
   * Rejects with what failed. Idempotent.
   */
  stop(): Promise<void>;
}

/**
 * Runs a start of several steps. When a step fails, those before it are stopped and the error is
 * thrown on: nothing is left running.
 */
export async function startAllOrNothing<T>(steps: (started: Started) => Promise<T>): Promise<T> {
  const started = createStarted();
  try {
    return await steps(started);
  } catch (error) {
    // The first error is what people need to read.
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
