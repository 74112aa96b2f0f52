/** Tells microseconds since the Unix epoch; the same in all processes of a run, and never back. */
export type Micros = () => number;

/** Where the machine's monotonic clock stands against the time of day: for all processes alike. */
export function epochOffsetUs(): number {
  return Date.now() * 1_000 - monotonicUs();
}

/** How often both clocks are read together, to set one by the other. */
const READINGS = 20;

/** A clock for this thread. `performance.now` costs far less than a bigint, but begins with us. */
export function createMicros(offsetUs: number): Micros {
  const base = offsetUs + beginningUs();
  return () => Math.floor(base + performance.now() * 1_000);
}

/**
 * When `performance.now` was 0, by the clock of the machine. By the quickest of some readings: the
 * first calls of a young thread take more than a millisecond, and all it measures would be off by that.
 */
function beginningUs(): number {
  let beginning = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let reading = 0; reading < READINGS; reading++) {
    const before = performance.now() * 1_000;
    const nowUs = monotonicUs();
    const after = performance.now() * 1_000;
    if (after - before >= least) continue;
    least = after - before;
    beginning = nowUs - (before + after) / 2;
  }
  return beginning;
}

function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
