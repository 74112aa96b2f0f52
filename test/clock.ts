import type { Clock } from "../platform/clock.ts";

/** A clock that a test moves by hand. */
export interface ManualClock extends Clock {
  /** Moves the time and rings what became due, in order. Negative steps back and rings nothing. */
  advance(ms: number): void;
}

/** Starts at `startMs`, milliseconds since the Unix epoch; 2026-01-01 when absent. */
export function createManualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  let now = startMs;
  const due = new Set<{ at: number; ring: () => void; intervalMs?: number }>();
  const add = (entry: { at: number; ring: () => void; intervalMs?: number }) => {
    due.add(entry);
    return { stop: () => void due.delete(entry) };
  };
  return {
    now: () => now,
    after: (delayMs, ring) => add({ at: now + delayMs, ring }),
    every: (intervalMs, ring) => add({ at: now + intervalMs, ring, intervalMs }),
    advance(ms) {
      const until = now + ms;
      for (;;) {
        const [next] = [...due].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
        if (!next) break;
        now = Math.max(now, next.at);
        if (next.intervalMs === undefined) due.delete(next);
        else next.at += next.intervalMs;
        next.ring();
      }
      now = until;
    },
  };
}
