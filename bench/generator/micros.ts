/** Tells microseconds since the Unix epoch; the same in all processes of a run, and never back. */
export type Micros = () => number;

/** Where the machine's monotonic clock stands against the time of day: for all processes alike. */
export function epochOffsetUs(): number {
  return Date.now() * 1_000 - monotonicUs();
}

/** A clock for this process. `performance.now` costs far less than a bigint, but begins with us. */
export function createMicros(offsetUs: number): Micros {
  const base = offsetUs + monotonicUs() - performance.now() * 1_000;
  return () => Math.floor(base + performance.now() * 1_000);
}

function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
