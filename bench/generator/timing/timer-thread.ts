/**
 * Wakes its parent thread at even intervals, with the time that it was meant for: timers of the event
 * loop know whole milliseconds only.
 */
import { parentPort, workerData } from "node:worker_threads";
import { createMicros } from "./microsecond-clock.ts";

const { intervalUs } = workerData as { intervalUs: number };
const micros = createMicros(0);
const never = new Int32Array(new SharedArrayBuffer(4));
for (let due = micros() + intervalUs; ; due += intervalUs) {
  const left = due - micros();
  if (left > 0) Atomics.wait(never, 0, 0, left / 1_000);
  // After a pause of the machine: one tick for all that were missed.
  else due += Math.floor(-left / intervalUs) * intervalUs;
  parentPort?.postMessage(due);
}
