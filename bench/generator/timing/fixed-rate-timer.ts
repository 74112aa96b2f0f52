import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { createMicrosecondClock, type MicrosecondClock } from "./microsecond-clock.ts";

/** Bounds of the time between two ticks, µs. All calls that are due within one tick are made together. */
const MIN_TICK_US = 500;
const MAX_TICK_US = 1_000;

export interface FixedRateOptions {
  readonly clockUs: MicrosecondClock;
  /** Time between two calls, µs. */
  readonly intervalUs: number;
  /** Called with the time at which the call was due, by `clockUs`. */
  readonly due: (dueUs: number) => void;
}

export interface FixedRateTimer {
  stop(): void;
}

/** Calls `due` at a fixed rate, however long the calls take. Missed calls follow immediately. */
export function startFixedRateTimer({
  clockUs,
  intervalUs,
  due,
}: FixedRateOptions): FixedRateTimer {
  // The timer thread uses the monotonic clock, without the time of day.
  const offsetUs = clockUs() - createMicrosecondClock(0)();
  let startUs: number | undefined;
  let count = 0;
  const tick = (tickDueUs: number) => {
    startUs ??= tickDueUs;
    for (; ; count++) {
      const dueUs = startUs + count * intervalUs;
      // Half a microsecond compensates rounding errors of the summed fractions.
      if (dueUs > tickDueUs + 0.5) break;
      due(Math.floor(dueUs + offsetUs));
    }
  };
  const worker = new Worker(join(import.meta.dirname, "timer-thread.ts"), {
    workerData: { intervalUs: tickUs(intervalUs) },
  });
  worker.on("message", tick);
  return {
    stop() {
      worker.off("message", tick);
      void worker.terminate();
    },
  };
}

/** Time between two ticks, µs: a whole fraction of the interval, about a millisecond at most. */
function tickUs(intervalUs: number): number {
  if (intervalUs < MIN_TICK_US) return MIN_TICK_US;
  return intervalUs / Math.ceil(intervalUs / MAX_TICK_US);
}
