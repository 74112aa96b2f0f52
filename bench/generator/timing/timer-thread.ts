/**
 * Wakes its parent thread at even intervals, and sends it the time at which the tick was due. Timers of the
 * event loop have a resolution of one millisecond.
 */
import { parentPort, workerData } from "node:worker_threads";
import { createMicrosecondClock } from "./microsecond-clock.ts";

const { intervalUs } = workerData as { intervalUs: number };
const clockUs = createMicrosecondClock(0);
const neverNotified = new Int32Array(new SharedArrayBuffer(4));
for (let due = clockUs() + intervalUs; ; due += intervalUs) {
  const left = due - clockUs();
  if (left > 0) Atomics.wait(neverNotified, 0, 0, left / 1_000);
  // After a pause of the machine, one tick replaces all missed ticks.
  else due += Math.floor(-left / intervalUs) * intervalUs;
  parentPort?.postMessage(due);
}
