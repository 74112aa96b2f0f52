import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { createMicros, type Micros } from "./micros.ts";

/** Shortest pause between two ticks: what is due within one leaves together. */
const TICK_AT_LEAST_US = 500;
const TICK_AT_MOST_US = 1_000;
/** Above this share of CPU a process that comes late has only itself to blame. */
const BUSY = 0.8;

export interface PaceOptions {
  readonly micros: Micros;
  /** Between two that are due, µs. */
  readonly intervalUs: number;
  /** One is due: when it was, by `micros`. */
  readonly due: (dueUs: number) => void;
  /** One is about to go out, this much after it was due, and whether this process was busy. */
  readonly late: (lateUs: number, busy: boolean) => void;
}

export interface Pace {
  stop(): void;
}

/** Calls `due` at a fixed rate, whatever becomes of it: what was missed is made up for at once. */
export function startPace({ micros, intervalUs, due, late }: PaceOptions): Pace {
  // The pacer's clock is the machine's, without the time of day.
  const offsetUs = micros() - createMicros(0)();
  let startUs: number | undefined;
  let count = 0;
  let wokenUs = micros();
  let cpu = process.cpuUsage();
  const tick = (meantForUs: number) => {
    startUs ??= meantForUs;
    const nowUs = micros();
    const usage = process.cpuUsage();
    const used = usage.user + usage.system - cpu.user - cpu.system;
    const busy = used > (nowUs - wokenUs) * BUSY;
    wokenUs = nowUs;
    cpu = usage;
    for (; ; count++) {
      const dueUs = startUs + count * intervalUs;
      // Half a microsecond for what sums of fractions lose.
      if (dueUs > meantForUs + 0.5) break;
      late(nowUs - dueUs - offsetUs, busy);
      due(Math.floor(dueUs + offsetUs));
    }
  };
  const worker = new Worker(join(import.meta.dirname, "pacer.ts"), {
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
