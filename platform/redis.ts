import { Redis } from "ioredis";
import type { Log } from "./log.ts";

export interface RedisOptions {
  /** redis://[:password@]host:port */
  readonly url: string;
  /** Lua scripts by the name of the command that runs them. */
  readonly scripts: Readonly<Record<string, { readonly lua: string; numberOfKeys?: number }>>;
  /** Time-out of a command, milliseconds. */
  readonly commandTimeoutMs: number;
  /** Time-out of a connection attempt, milliseconds. */
  readonly connectTimeoutMs: number;
  readonly log: Log;
  /** Events to log when Redis becomes unreachable, and when it is reachable again. */
  readonly events: { readonly unreachable: string; readonly reconnected: string };
}

/** A connection to Redis; `C` are the commands of its scripts. */
export interface RedisConnection<C> {
  readonly redis: Redis & C;
  /** Resolves after the first connection attempt, whatever its result. */
  readonly firstAttempt: Promise<void>;
}

/** Longest back-off between two connection attempts, and between two checks of a loading Redis. */
const MAX_BACKOFF_MS = 1_000;
/**
 * Errors of a replica. After a failover the name or the address of Redis leads to the new primary,
 * but only new connections get there.
 */
const REPLICA_ERRORS = /READONLY|MASTERDOWN/;

/**
 * Opens one connection for all commands, which reconnects with back-off. While Redis cannot be
 * reached, commands fail at once: none is queued or sent twice. It reconnects, at most once a
 * second, when it is connected to a replica.
 */
export function openRedis<C>(options: RedisOptions): RedisConnection<C> {
  const { url, scripts, commandTimeoutMs, connectTimeoutMs, log, events } = options;
  let replicaLeftAtMs = Number.NEGATIVE_INFINITY;
  const redis = new Redis(url, {
    scripts: { ...scripts },
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: connectTimeoutMs,
    maxLoadingRetryTime: MAX_BACKOFF_MS,
    retryStrategy: (times) => Math.min(20 * 2 ** times, MAX_BACKOFF_MS),
    reconnectOnError({ message }) {
      if (!REPLICA_ERRORS.test(message)) return false;
      if (performance.now() - replicaLeftAtMs < MAX_BACKOFF_MS) return false;
      replicaLeftAtMs = performance.now();
      return true;
    },
  }) as Redis & C;
  const firstAttempt = new Promise<void>((resolve) => {
    redis.once("ready", resolve);
    redis.once("close", resolve);
  });
  let unreachable = false;
  redis.on("error", (err) => {
    if (!unreachable) log.error({ event: events.unreachable, err });
    unreachable = true;
  });
  redis.on("ready", () => {
    if (unreachable) log.info({ event: events.reconnected });
    unreachable = false;
  });
  return { redis, firstAttempt };
}
