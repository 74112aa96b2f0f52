import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Budget, Limiter } from "./limiter.ts";

/** A limiter that counts inside one process. */
export function createMemoryLimiter(): Limiter {
  const counters = new Map<string, RateLimiterMemory>();

  const counterOf = ({ name, points, windowMs }: Budget): RateLimiterMemory => {
    const id = `${name}:${points}:${windowMs}`;
    let counter = counters.get(id);
    if (!counter) {
      counter = new RateLimiterMemory({ keyPrefix: id, points, duration: windowMs / 1000 });
      counters.set(id, counter);
    }
    return counter;
  };

  return {
    async take(budget, key, points = 1) {
      try {
        await counterOf(budget).consume(key, points);
        return { allowed: true };
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal;
        return { allowed: false, retryAfterMs: refusal.msBeforeNext };
      }
    },
    async close() {
      counters.clear();
    },
  };
}
