import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { createMicros, type Micros } from "./microsecond-clock.ts";

/** Shortest pause between two ticks: what is due within one leaves together. */
const TICK_AT_LEAST_US = 500;
const TICK_AT_MOST_US = 1_000;

export interface PaceOptions {
  readonly micros: Micros;
  /** Between two that are due, µs. */
  readonly intervalUs: number;
  /** One is due: when it was, by `micros`. */
  readonly due: (dueUs: number) => void;
}

export interface Pace {
  stop(): void;
}

/** Calls `due` at a fixed rate, whatever becomes of it: what was missed is made up for at once. */
export function startPace({ micros, intervalUs, due }: PaceOptions): Pace {
  // The pacer's clock is the machine's, without the time of day.
  const offsetUs = micros() - createMicros(0)();
  let startUs: number | undefined;
  let count = 0;
  const tick = (meantForUs: number) => {
    startUs ??= meantForUs;
    for (; ; count++) {
      const dueUs = startUs + count * intervalUs;
      // Half a microsecond for what sums of fractions lose.
      if (dueUs > meantForUs + 0.5) break;
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

/** About a millisecond, so that ticks fall onto what is due; less when more is due. */
function tickUs(intervalUs: number): number {
  if (intervalUs < TICK_AT_LEAST_US) return TICK_AT_LEAST_US;
  return intervalUs / Math.ceil(intervalUs / TICK_AT_MOST_US);
}
