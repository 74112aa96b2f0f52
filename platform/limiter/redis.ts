import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { openRedis } from "#platform/redis.ts";
import { type Budget, type Limiter, type Penalty, type Taken, windowsOf } from "./limiter.ts";
import { createMemoryLimiter } from "./memory.ts";
import { FAILURES, LIMITS, type ScriptCommands, scripts } from "./redis-scripts.ts";

export interface RedisLimiterOptions {
  /** redis://[:password@]host:port */
  url: string;
  log: Log;
  metrics?: Metrics;
}

const COMMAND_TIMEOUT_MS = 500;

/**
 * A limiter that counts in Redis, over all instances. It rounds windows up to whole seconds. While
 * Redis cannot be reached or cannot write, failures and budgets with `countsAlone` are counted in this
 * process alone, and every other budget allows; metrics count both. A call waits for Redis at most half a
 * second.
 */
export function createRedisLimiter({ url, log, metrics }: RedisLimiterOptions): Limiter {
  const { redis, firstAttempt } = openRedis<ScriptCommands>({
    url,
    scripts,
    commandTimeoutMs: COMMAND_TIMEOUT_MS,
    connectTimeoutMs: 4 * COMMAND_TIMEOUT_MS,
    log,
    events: { unreachable: "limiter_unreachable", reconnected: "limiter_reconnected" },
  });
  /**
   * Counts while Redis cannot be reached or refuses writes. A Redis that refuses writes still
   * answers reads, without these counts: reads use both.
   */
  const fallback = createMemoryLimiter(metrics === undefined ? {} : { metrics });
  const unlimited = metrics?.counter(
    "lucky_limiter_unlimited_total",
    "Calls that were allowed because the limiter's store could not be reached.",
    ["budget"],
  );

  const counters = new Map<string, RateLimiterRedis>();
  const counterOf = ({ name, points, windowMs }: Budget): RateLimiterRedis => {
    // The key has no points: a changed budget continues the window.
    const keyPrefix = `${LIMITS}${name}:${windowMs}`;
    const id = `${keyPrefix}:${points}`;
    let counter = counters.get(id);
    if (!counter) {
      const duration = Math.ceil(windowMs / 1000);
      counter = new RateLimiterRedis({ storeClient: redis, keyPrefix, points, duration });
      counters.set(id, counter);
    }
    return counter;
  };

  const alone = metrics?.counter(
    "lucky_limiter_alone_total",
    "Attempts that this process limited alone because the limiter's store could not be reached.",
    ["penalty"],
  );
  /** Runs `shared` in Redis, or `local` in this process when Redis does not respond. */
  async function withFallback<T>(name: string, shared: () => Promise<T>, local: () => Promise<T>) {
    await firstAttempt;
    try {
      return await shared();
    } catch (err) {
      alone?.inc({ penalty: name });
      log.debug({ event: "limiter_alone", penalty: name, err });
      return local();
    }
  }
  const idOf = ({ name }: Penalty, key: string) => `${FAILURES}${name}:${key}`;
  const argumentsOf = (penalty: Penalty) =>
    [penalty.freeFailures, penalty.firstWaitMs, penalty.longestWaitMs, penalty.forgetMs] as const;

  return {
    waiting: (penalty, key) =>
      withFallback(
        penalty.name,
        async () => {
          const sharedMs = await redis.luckyWaiting(idOf(penalty, key));
          return Math.max(sharedMs, await fallback.waiting(penalty, key));
        },
        () => fallback.waiting(penalty, key),
      ),
    admit: (penalty, key) =>
      withFallback(
        penalty.name,
        async () => {
          const sharedMs = await redis.luckyAdmit(idOf(penalty, key), ...argumentsOf(penalty));
          if (sharedMs === 0) return fallback.admit(penalty, key);
          return Math.max(sharedMs, await fallback.waiting(penalty, key));
        },
        () => fallback.admit(penalty, key),
      ),
    penalize: (penalty, key) =>
      withFallback(
        penalty.name,
        () => redis.luckyPenalize(idOf(penalty, key), ...argumentsOf(penalty)),
        () => fallback.penalize(penalty, key),
      ),
    async pardon(penalty, key) {
      await fallback.pardon(penalty, key);
      await withFallback(
        penalty.name,
        () => redis.del(idOf(penalty, key)),
        async () => 0,
      );
    },
    async take(budget, key, points = 1) {
      await firstAttempt;
      try {
        const counter = counterOf(budget);
        if (points === 0) {
          const shared = answerTo(await counter.get(key), budget);
          return shared.allowed && budget.countsAlone ? fallback.take(budget, key, 0) : shared;
        }
        await counter.consume(key, Math.min(points, budget.points), {
          customDuration: counter.duration * windowsOf(budget, points),
        });
        return { allowed: true };
      } catch (refusal) {
        if (refusal instanceof RateLimiterRes)
          return { allowed: false, retryAfterMs: refusal.msBeforeNext };
        if (budget.countsAlone) {
          alone?.inc({ penalty: budget.name });
          return fallback.take(budget, key, points);
        }
        unlimited?.inc({ budget: budget.name });
        log.debug({ event: "limiter_unlimited", budget: budget.name, err: refusal });
        return { allowed: true };
      }
    },
    async close() {
      await fallback.close();
      redis.disconnect();
    },
  };
}

/** The answer that a take of one point would get, by the points that the key has used. */
function answerTo(used: RateLimiterRes | null, { points }: Budget): Taken {
  if (used === null || used.consumedPoints < points) return { allowed: true };
  return { allowed: false, retryAfterMs: used.msBeforeNext };
}
