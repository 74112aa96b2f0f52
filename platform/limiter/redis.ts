import { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Budget, Limiter, Penalty } from "./limiter.ts";
import { createMemoryLimiter } from "./memory.ts";
import { FAILURES, LIMITS, type ScriptCommands, scripts } from "./redis-scripts.ts";

export interface RedisLimiterOptions {
  /** redis://[:password@]host:port */
  url: string;
  log: Log;
  metrics?: Metrics;
}

const COMMAND_MS = 500;
const RETRY_AT_MOST_MS = 1_000;

/**
 * A limiter whose counts lie in Redis, shared by all instances. Windows are rounded up to whole
 * seconds. While Redis is away every budget allows, counted as a metric, and failures are counted in
 * this process alone; nothing waits for Redis longer than half a second.
 */
export function createRedisLimiter({ url, log, metrics }: RedisLimiterOptions): Limiter {
  const redis = new Redis(url, {
    scripts,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS,
    connectTimeout: 4 * COMMAND_MS,
    retryStrategy: (times) => Math.min(20 * 2 ** times, RETRY_AT_MOST_MS),
  }) as Redis & ScriptCommands;
  /** Counts failures while Redis is away. */
  const near = createMemoryLimiter();
  const tried = new Promise<void>((resolve) => {
    redis.once("ready", resolve);
    redis.once("close", resolve);
  });
  const unlimited = metrics?.counter(
    "lucky_limiter_unlimited_total",
    "Calls that were allowed because the limiter's store could not be reached.",
    ["budget"],
  );
  let away = false;
  redis.on("error", (err) => {
    if (!away) log.error({ event: "limiter_away", err });
    away = true;
  });
  redis.on("ready", () => {
    if (away) log.info({ event: "limiter_back" });
    away = false;
  });

  const counters = new Map<string, RateLimiterRedis>();
  const counterOf = ({ name, points, windowMs }: Budget): RateLimiterRedis => {
    const keyPrefix = `${LIMITS}${name}:${points}:${windowMs}`;
    let counter = counters.get(keyPrefix);
    if (!counter) {
      const duration = Math.ceil(windowMs / 1000);
      counter = new RateLimiterRedis({ storeClient: redis, keyPrefix, points, duration });
      counters.set(keyPrefix, counter);
    }
    return counter;
  };

  const alone = metrics?.counter(
    "lucky_limiter_alone_total",
    "Attempts that were judged by this process alone because the limiter's store could not be reached.",
    ["penalty"],
  );
  /** Asks Redis, or what this process knows when Redis does not answer. */
  async function either<T>(name: string, far: () => Promise<T>, here: () => Promise<T>) {
    await tried;
    try {
      return await far();
    } catch (err) {
      alone?.inc({ penalty: name });
      log.debug({ event: "limiter_alone", penalty: name, err });
      return here();
    }
  }
  const idOf = ({ name }: Penalty, key: string) => `${FAILURES}${name}:${key}`;
  const argumentsOf = (penalty: Penalty) =>
    [penalty.freeFailures, penalty.firstWaitMs, penalty.longestWaitMs, penalty.forgetMs] as const;

  return {
    waiting: (penalty, key) =>
      either(
        penalty.name,
        () => redis.luckyWaiting(idOf(penalty, key)),
        () => near.waiting(penalty, key),
      ),
    admit: (penalty, key) =>
      either(
        penalty.name,
        () => redis.luckyAdmit(idOf(penalty, key), ...argumentsOf(penalty)),
        () => near.admit(penalty, key),
      ),
    penalize: (penalty, key) =>
      either(
        penalty.name,
        () => redis.luckyPenalize(idOf(penalty, key), ...argumentsOf(penalty)),
        () => near.penalize(penalty, key),
      ),
    async pardon(penalty, key) {
      await near.pardon(penalty, key);
      await either(
        penalty.name,
        () => redis.del(idOf(penalty, key)),
        async () => 0,
      );
    },
    async take(budget, key, points = 1) {
      await tried;
      try {
        await counterOf(budget).consume(key, points);
        return { allowed: true };
      } catch (refusal) {
        if (refusal instanceof RateLimiterRes)
          return { allowed: false, retryAfterMs: refusal.msBeforeNext };
        unlimited?.inc({ budget: budget.name });
        log.debug({ event: "limiter_unlimited", budget: budget.name, err: refusal });
        return { allowed: true };
      }
    },
    async close() {
      await near.close();
      redis.disconnect();
    },
  };
}
