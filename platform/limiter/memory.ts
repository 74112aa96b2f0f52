import { type Clock, systemClock } from "#platform/clock.ts";
import { createExpiring } from "./expiring.ts";
import { type Limiter, type Penalty, waitAfter } from "./limiter.ts";

/** Points of a key in its window. */
interface Window {
  used: number;
  readonly endsAtMs: number;
}

/** How often a key failed, and until when it waits. */
interface Failures {
  readonly count: number;
  readonly waitsUntilMs: number;
}

/** A limiter that counts inside one process. A window begins with the first point taken in it. */
export function createMemoryLimiter({ clock = systemClock }: { clock?: Clock } = {}): Limiter {
  const now = () => clock.now();
  const windows = createExpiring<Window>(now);
  const failures = createExpiring<Failures>(now);

  const idOf = ({ name }: Penalty, key: string) => `${name}:${key}`;
  const waitOf = (held: Failures | undefined) =>
    Math.max(0, (held?.waitsUntilMs ?? 0) - clock.now());

  /** Begins the wait that belongs to so many failures. Returns it. */
  function begin(penalty: Penalty, key: string, count: number): number {
    const waitMs = waitAfter(penalty, count);
    const time = clock.now();
    const untilMs = time + Math.max(penalty.forgetMs, waitMs);
    failures.set(idOf(penalty, key), { count, waitsUntilMs: time + waitMs }, untilMs);
    return waitMs;
  }

  return {
    async take({ name, points: most, windowMs }, key, points = 1) {
      const id = `${name}:${most}:${windowMs}:${key}`;
      let window = windows.get(id);
      if (!window) {
        window = { used: 0, endsAtMs: clock.now() + windowMs };
        windows.set(id, window, window.endsAtMs);
      }
      window.used += points;
      if (window.used <= most) return { allowed: true };
      return { allowed: false, retryAfterMs: window.endsAtMs - clock.now() };
    },
    async waiting(penalty, key) {
      return waitOf(failures.get(idOf(penalty, key)));
    },
    async admit(penalty, key) {
      const held = failures.get(idOf(penalty, key));
      const waitMs = waitOf(held);
      if (waitMs === 0 && held && held.count >= penalty.freeFailures)
        begin(penalty, key, held.count);
      return waitMs;
    },
    async penalize(penalty, key) {
      return begin(penalty, key, (failures.get(idOf(penalty, key))?.count ?? 0) + 1);
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
