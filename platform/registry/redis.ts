import type { Redis } from "ioredis";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { openRedis } from "#platform/redis.ts";
import { RedisHealth } from "./redis-health.ts";
import { type LossCause, RedisLease } from "./redis-lease.ts";
import {
  CHANNEL,
  INSTANCE,
  keysOf,
  type ScriptCommands,
  SERVICE,
  scripts,
} from "./redis-scripts.ts";
import type { Instance, Registry } from "./registry.ts";

export interface RedisRegistryOptions {
  /** redis://[:password@]host:port */
  url: string;
  clock: Clock;
  log: Log;
  metrics?: Metrics;
  /** Duration of a lease, milliseconds. It is renewed three times in that time. */
  leaseMs?: number;
  /** Maximum age of cached instances, milliseconds. */
  cacheMs?: number;
  /** Interval of checking whether Redis serves, milliseconds. */
  checkMs?: number;
  /**
   * Ends the waits of `announce`: for the lease of a crashed instance with the same id, and for a Redis
   * that cannot be reached. When absent, it rejects at once when Redis cannot be reached.
   */
  stopping?: AbortSignal | undefined;
}

const COMMAND_TIMEOUT_MS = 2_000;

/**
 * A registry in Redis, which may lose all data at any time. Everything that an instance writes
 * carries its epoch, a random id of its entry; data with an epoch other than the one in the
 * instance's key is invalid and stays so. While Redis cannot be reached, calls fail at once or
 * within 2 s, and the client reconnects. While Redis answers but cannot write, and for one lease
 * after that or after a loss of data, its answers may be incomplete: `locate` rejects, and
 * `instances` keeps the instances that it knew.
 */
export function createRedisRegistry(options: RedisRegistryOptions): Registry {
  const { clock, log, leaseMs = 15_000, cacheMs = 1_000, checkMs = 1_000 } = options;
  const connection = openConnection(options.url, log);
  const leases = new Set<RedisLease>();
  const losses = options.metrics && countLosses(options.metrics);
  /** Cached epochs of live instances. */
  const epochs = new Map<string, { epoch: string; atMs: number }>();
  const lists = new Map<string, { instances: readonly Instance[]; atMs: number }>();
  const pendingLists = new Map<string, Promise<readonly Instance[]>>();

  const health = new RedisHealth({
    ...options,
    connection,
    leaseMs,
    checkMs,
    recovered() {
      for (const lease of leases) lease.renew();
    },
    lost() {
      for (const lease of leases) lease.repeat();
    },
  });
  connection.redis.on("close", () => health.disconnected());
  connection.redis.on("ready", () => void health.check());

  const incomplete = () =>
    fail(ErrorReason.UNAVAILABLE, "the registry may have lost registrations");
  const requireComplete = () => {
    if (!health.isComplete()) throw incomplete();
  };

  /** Reads the epochs of instances. Throws when an absent one proves nothing. */
  const refresh = async (instanceIds: readonly string[]) => {
    const keys = instanceIds.map((id) => INSTANCE + id);
    const values = await connection.run((redis) => redis.mget(keys));
    if (values.includes(null)) {
      await health.check();
      requireComplete();
    }
    for (const [i, id] of instanceIds.entries()) {
      const value = values[i];
      if (value) epochs.set(id, { epoch: JSON.parse(value).epoch, atMs: clock.elapsed() });
      else epochs.delete(id);
    }
  };
  const isFresh = (instanceId: string, epoch: string): boolean => {
    const known = epochs.get(instanceId);
    return known?.epoch === epoch && clock.elapsed() - known.atMs < cacheMs;
  };

  const list = async (service: string): Promise<readonly Instance[]> => {
    const before = lists.get(service)?.instances ?? [];
    const found = await connection
      .run((redis) => redis.luckyList(SERVICE + service))
      .catch(() => null);
    const instances = await withUnproven(health, { known: before, found: found?.map(instanceOf) });
    lists.set(service, { instances, atMs: clock.elapsed() });
    return instances;
  };

  return {
    async announce(instance, lost) {
      const lease = new RedisLease({
        ...{ connection, clock, log, leaseMs, instance, losses, lost },
        stopping: options.stopping,
      });
      await lease.enter();
      leases.add(lease);
      return lease;
    },
    async instances(service) {
      const known = lists.get(service);
      // While instances register again, a cached list would miss the latest ones, and `locate` does
      // not find them either.
      const maxAgeMs = health.refilling ? 0 : cacheMs;
      if (known && clock.elapsed() - known.atMs < maxAgeMs) return known.instances;
      const pending =
        pendingLists.get(service) ?? list(service).finally(() => pendingLists.delete(service));
      pendingLists.set(service, pending);
      return pending;
    },
    async locate(channels) {
      if (channels.length === 0) return [];
      if (health.starting) await health.check();
      requireComplete();
      const { generation } = health;
      const answers = await connection.run((redis) =>
        Promise.all(keysOf(channels).map((keys) => redis.luckyHearing(keys.length, ...keys))),
      );
      if (answers.some(([found]) => found !== generation)) {
        await health.check();
        throw incomplete();
      }
      const hearing = answers.flatMap(([, ...lists]) =>
        lists.map((list) => list.map(storedInstanceOf)),
      );
      const uncached = hearing.flat().filter(({ id, epoch }) => !isFresh(id, epoch));
      if (uncached.length > 0) await refresh([...new Set(uncached.map(({ id }) => id))]);

      const dead: { channel: string; members: string[] }[] = [];
      const located = hearing.map((list, i) => {
        const isLive = ({ id, epoch }: StoredInstance) => epochs.get(id)?.epoch === epoch;
        const gone = list.filter((member) => !isLive(member)).map(({ text }) => text);
        if (gone.length > 0) dead.push({ channel: channels[i]!, members: gone });
        return list.filter(isLive).map(({ id }) => id);
      });
      // A failed clean-up needs no retry: the next `locate` repeats it.
      for (const { channel, members } of dead)
        connection.run((redis) => redis.srem(CHANNEL + channel, ...members)).catch(() => {});
      return located;
    },
    async close() {
      health.close();
      await Promise.all([...leases].map((lease) => lease.release()));
      connection.close();
    },
  };
}

function countLosses(metrics: Metrics) {
  const losses = metrics.counter(
    "lucky_registry_leases_lost_total",
    "Times that this instance was without its lease in the registry, by cause: it had expired, or another process has its id.",
    ["cause"],
  );
  // Prometheus sees the first loss as an increase only after a zero.
  for (const cause of ["expired", "taken"] satisfies LossCause[]) losses.inc({ cause }, 0);
  return losses;
}

/** The instances found, with known ones whose absence proves nothing. Absent `found`: an error. */
async function withUnproven(
  health: RedisHealth,
  { known, found = known }: { known: readonly Instance[]; found: readonly Instance[] | undefined },
): Promise<readonly Instance[]> {
  const foundIds = new Set(found.map(({ instanceId }) => instanceId));
  const absent = known.filter(({ instanceId }) => !foundIds.has(instanceId));
  if (absent.length === 0) return found;
  await health.check();
  return health.isComplete() ? found : [...found, ...absent];
}

/** An instance as a set of Redis contains it: its id and its epoch. */
interface StoredInstance {
  readonly text: string;
  readonly id: string;
  readonly epoch: string;
}

function storedInstanceOf(text: string): StoredInstance {
  const [id = "", epoch = ""] = text.split(" ");
  return { text, id, epoch };
}

function instanceOf(json: string): Instance {
  const { epoch: _, ...instance } = JSON.parse(json) as Instance & { epoch: string };
  return instance;
}

/** The one connection of the registry, for all its commands. */
interface CommandConnection {
  readonly redis: Redis;
  /** Runs a command. Every error becomes UNAVAILABLE. */
  run<T>(work: (redis: Redis & ScriptCommands) => Promise<T>): Promise<T>;
  close(): void;
}

function openConnection(url: string, log: Log): CommandConnection {
  const { redis, firstAttempt } = openRedis<ScriptCommands>({
    url,
    scripts,
    commandTimeoutMs: COMMAND_TIMEOUT_MS,
    connectTimeoutMs: COMMAND_TIMEOUT_MS,
    log,
    events: { unreachable: "registry_unreachable", reconnected: "registry_reconnected" },
  });
  const run = async <T>(work: (redis: Redis & ScriptCommands) => Promise<T>): Promise<T> => {
    await firstAttempt;
    try {
      return await work(redis);
    } catch (cause) {
      throw fail(ErrorReason.UNAVAILABLE, "the registry cannot be reached", { cause });
    }
  };
  return {
    redis,
    run,
    close: () => redis.disconnect(),
  };
}
