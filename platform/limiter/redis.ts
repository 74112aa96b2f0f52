import { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Budget, Limiter } from "./limiter.ts";

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
 * seconds. While Redis is away everything is allowed, and counted as a metric; nothing waits for it
 * longer than half a second.
 */
export function createRedisLimiter({ url, log, metrics }: RedisLimiterOptions): Limiter {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS,
    connectTimeout: 4 * COMMAND_MS,
    retryStrategy: (times) => Math.min(20 * 2 ** times, RETRY_AT_MOST_MS),
  });
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
    const keyPrefix = `lucky:limit:${name}:${points}:${windowMs}`;
    let counter = counters.get(keyPrefix);
    if (!counter) {
      const duration = Math.ceil(windowMs / 1000);
      counter = new RateLimiterRedis({ storeClient: redis, keyPrefix, points, duration });
      counters.set(keyPrefix, counter);
    }
    return counter;
  };

  return {
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
      redis.disconnect();
    },
  };
}
