import { type Clock, systemClock } from "#platform/clock.ts";
import { createExpiring } from "./expiring.ts";
import { type Limiter, type Penalty, waitAfter, windowsOf } from "./limiter.ts";

/** Points that a key has used in its window. */
interface Window {
  used: number;
  readonly endsAtMs: number;
}

/** Number of failures of a key, and the end of its delay. */
interface Failures {
  readonly count: number;
  readonly waitsUntilMs: number;
}

/** A limiter that counts inside one process. A window starts with the first `take` in it. */
export function createMemoryLimiter({ clock = systemClock }: { clock?: Clock } = {}): Limiter {
  const now = () => clock.now();
  const windows = createExpiring<Window>(now);
  const failures = createExpiring<Failures>(now);

  const idOf = ({ name }: Penalty, key: string) => `${name}:${key}`;
  const waitOf = (held: Failures | undefined) =>
    Math.max(0, (held?.waitsUntilMs ?? 0) - clock.now());

  /** Starts the delay after `count` failures. Returns it, milliseconds. */
  function startDelay(penalty: Penalty, key: string, count: number): number {
    const waitMs = waitAfter(penalty, count);
    const time = clock.now();
    const untilMs = time + Math.max(penalty.forgetMs, waitMs);
    failures.set(idOf(penalty, key), { count, waitsUntilMs: time + waitMs }, untilMs);
    return waitMs;
  }

  return {
    async take(budget, key, points = 1) {
      const { name, points: max, windowMs } = budget;
      const id = `${name}:${max}:${windowMs}:${key}`;
      let window = windows.get(id);
      if (!window) {
        window = { used: 0, endsAtMs: clock.now() + windowMs * windowsOf(budget, points) };
        windows.set(id, window, window.endsAtMs);
      }
      window.used += Math.min(points, max);
      if (window.used <= max) return { allowed: true };
      return { allowed: false, retryAfterMs: window.endsAtMs - clock.now() };
    },
    async waiting(penalty, key) {
      return waitOf(failures.get(idOf(penalty, key)));
    },
    async admit(penalty, key) {
      const held = failures.get(idOf(penalty, key));
      const waitMs = waitOf(held);
      if (waitMs === 0 && held && held.count >= penalty.freeFailures)
        startDelay(penalty, key, held.count);
      return waitMs;
    },
    async penalize(penalty, key) {
      return startDelay(penalty, key, (failures.get(idOf(penalty, key))?.count ?? 0) + 1);
    },
    async pardon(penalty, key) {
      failures.delete(idOf(penalty, key));
    },
    async close() {
      windows.clear();
      failures.clear();
    },
  };
}
