import { type Clock, systemClock } from "#platform/clock.ts";
import type { Metrics } from "#platform/metrics.ts";
import { createExpiring, type Expiring } from "./expiring.ts";
import { type Limiter, type Penalty, waitAfter, windowsOf } from "./limiter.ts";

/** Points that a key has used in its window. */
interface Window {
  used: number;
  /** Elapsed milliseconds, as all times here. */
  readonly endsAtMs: number;
}

/** Number of failures of a key, and the end of its delay. */
interface Failures {
  readonly count: number;
  readonly waitsUntilMs: number;
}

/** Maximum keys of one budget or penalty, about 30 MB. */
const MAX_KEYS = 100_000;

export interface MemoryLimiterOptions {
  readonly clock?: Clock;
  readonly metrics?: Metrics;
  readonly maxKeys?: number;
}

/**
 * A limiter that counts inside one process. A window starts with the first `take` in it. Each
 * budget and each penalty counts a bounded number of keys. At the bound it forgets the windows that
 * started first and the failures that were added longest ago: these keys start afresh, and no key of
 * another budget or penalty is affected.
 */
export function createMemoryLimiter(options: MemoryLimiterOptions = {}): Limiter {
  const { clock = systemClock, maxKeys = MAX_KEYS, metrics } = options;
  const evictions = metrics?.counter(
    "lucky_limiter_evicted_total",
    "Keys that a limiter in memory forgot early because it counted too many keys.",
    ["name"],
  );
  /** One store per name: many keys of one name must not evict those of another. */
  function createStores<T>(): { of(name: string): Expiring<T>; clear(): void } {
    const stores = new Map<string, Expiring<T>>();
    return {
      of(name) {
        let store = stores.get(name);
        if (store === undefined) {
          const evicted = (count: number) => evictions?.inc({ name }, count);
          store = createExpiring<T>(() => clock.elapsed(), { maxEntries: maxKeys, evicted });
          stores.set(name, store);
        }
        return store;
      },
      clear: () => stores.clear(),
    };
  }
  const windows = createStores<Window>();
  const failures = createStores<Failures>();

  const waitOf = (held: Failures | undefined) =>
    Math.ceil(Math.max(0, (held?.waitsUntilMs ?? 0) - clock.elapsed()));

  /** Starts the delay after `count` failures. Returns it, milliseconds. */
  function startDelay(penalty: Penalty, key: string, count: number): number {
    const waitMs = waitAfter(penalty, count);
    const time = clock.elapsed();
    const untilMs = time + Math.max(penalty.forgetMs, waitMs);
    failures.of(penalty.name).set(key, { count, waitsUntilMs: time + waitMs }, untilMs);
    return waitMs;
  }

  return {
    async take(budget, key, points = 1) {
      const { name, points: max, windowMs } = budget;
      const id = `${windowMs}:${key}`;
      const held = windows.of(name);
      let window = held.get(id);
      if (points === 0 && !window) return { allowed: true };
      if (!window) {
        window = { used: 0, endsAtMs: clock.elapsed() + windowMs * windowsOf(budget, points) };
        held.set(id, window, window.endsAtMs);
      }
      window.used += Math.min(points, max);
      if (window.used + (points === 0 ? 1 : 0) <= max) return { allowed: true };
      return { allowed: false, retryAfterMs: Math.ceil(window.endsAtMs - clock.elapsed()) };
    },
    async waiting(penalty, key) {
      return waitOf(failures.of(penalty.name).get(key));
    },
    async admit(penalty, key) {
      const held = failures.of(penalty.name).get(key);
      const waitMs = waitOf(held);
      if (waitMs === 0 && held && held.count >= penalty.freeFailures)
        startDelay(penalty, key, held.count);
      return waitMs;
    },
    async penalize(penalty, key) {
      return startDelay(penalty, key, (failures.of(penalty.name).get(key)?.count ?? 0) + 1);
    },
    async pardon(penalty, key) {
      failures.of(penalty.name).delete(key);
    },
    async close() {
      windows.clear();
      failures.clear();
    },
  };
}
