import { LRUCache } from "lru-cache";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "./caller.ts";

/** Access tokens that were verified, until they expire. */
export interface VerifiedTokens {
  get(token: string): UserCaller | undefined;
  set(caller: UserCaller): void;
  readonly size: number;
}

/** How often those that have expired are thrown out. */
const PURGE_MS = 60_000;

/**
 * Remembers at most `max` tokens, the least recently used go first. Those that have expired go too,
 * now and then: each session renews its token four times an hour, and the old ones would add up to
 * several kilobytes for each.
 */
export function createVerifiedTokens({
  clock,
  max,
}: {
  clock: Clock;
  max: number;
}): VerifiedTokens {
  const callers = new LRUCache<string, UserCaller>({ max });
  let purgedAtMs = clock.now();

  function purge(nowMs: number): void {
    purgedAtMs = nowMs;
    for (const [token, { expiresAtMs }] of callers.entries())
      if (expiresAtMs <= nowMs) callers.delete(token);
  }
  return {
    get: (token) => callers.get(token),
    set(caller) {
      const nowMs = clock.now();
      if (nowMs - purgedAtMs >= PURGE_MS) purge(nowMs);
      callers.set(caller.token, caller);
    },
    get size() {
      return callers.size;
    },
  };
}
