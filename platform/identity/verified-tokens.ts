import { LRUCache } from "lru-cache";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "./caller.ts";

/** Cache of verified access tokens. */
export interface VerifiedTokens {
  get(token: string): UserCaller | undefined;
  set(caller: UserCaller): void;
  readonly size: number;
}

/** Minimum time between two evictions of all expired tokens. */
const EVICT_INTERVAL_MS = 60_000;

/**
 * Caches at most `max` tokens and evicts the least recently used one beyond that. `set` also evicts
 * all expired tokens, at most once a minute: each session refreshes its token four times an hour,
 * and its expired tokens would take several kilobytes per session.
 */
export function createVerifiedTokens({
  clock,
  max,
}: {
  clock: Clock;
  max: number;
}): VerifiedTokens {
  const callers = new LRUCache<string, UserCaller>({ max });
  /** When the expired tokens were evicted, elapsed ms. */
  let evictedAtMs = clock.elapsed();

  function evictExpired(): void {
    const nowMs = clock.now();
    for (const [token, { expiresAtMs }] of callers.entries())
      if (expiresAtMs <= nowMs) callers.delete(token);
  }
  return {
    get: (token) => callers.get(token),
    set(caller) {
      const elapsedMs = clock.elapsed();
      if (elapsedMs - evictedAtMs >= EVICT_INTERVAL_MS) {
        evictedAtMs = elapsedMs;
        evictExpired();
      }
      callers.set(caller.token, caller);
    },
    get size() {
      return callers.size;
    },
  };
}
