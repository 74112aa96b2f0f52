/** Reads microseconds since the Unix epoch. All processes of a run agree, and the clock never goes back. */
export type MicrosecondClock = () => number;

/**
 * Difference between the time of day and the machine's monotonic clock, µs. All processes of a run share it.
 */
export function epochOffsetUs(): number {
  return Date.now() * 1_000 - monotonicUs();
}

/** Number of simultaneous readings of both clocks, from which their difference is computed. */
const READINGS = 20;

/** A clock for this thread. `performance.now` costs far less than a bigint, but starts with the process. */
export function createMicrosecondClock(offsetUs: number): MicrosecondClock {
  const base = offsetUs + performanceOriginUs();
  return () => Math.floor(base + performance.now() * 1_000);
}

/**
 * The machine's monotonic clock when `performance.now` was 0, µs. The fastest of `READINGS` readings is used:
 * the first calls of a new thread take more than a millisecond, which would shift all its measurements.
 */
function performanceOriginUs(): number {
  let origin = 0;
  let shortest = Number.POSITIVE_INFINITY;
  for (let reading = 0; reading < READINGS; reading++) {
    const before = performance.now() * 1_000;
    const nowUs = monotonicUs();
    const after = performance.now() * 1_000;
    if (after - before >= shortest) continue;
    shortest = after - before;
    origin = nowUs - (before + after) / 2;
  }
  return origin;
}

function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
