import { Redis } from "ioredis";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { RedisLease } from "./redis-lease.ts";
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
  /** How long an instance stays without renewal, milliseconds. It is renewed three times as often. */
  leaseMs?: number;
  /** How old an answer about instances may be, milliseconds. */
  cacheMs?: number;
}

const COMMAND_MS = 2_000;
const RETRY_AT_MOST_MS = 1_000;

/**
 * A registry in Redis, which may forget everything at any time. What an instance wrote carries its
 * epoch, a random word that it enters under; an epoch that is not the one in the instance's key is
 * dead for good. Redis being away makes calls fail at once or within 2 s, and heals by itself.
 */
export function createRedisRegistry(options: RedisRegistryOptions): Registry {
  const { clock, log, leaseMs = 15_000, cacheMs = 1_000 } = options;
  const link = openLink(options.url, log);
  const leases = new Set<RedisLease>();
  /** The epochs of live instances, as last read. */
  const epochs = new Map<string, { epoch: string; atMs: number }>();
  const lists = new Map<string, { instances: readonly Instance[]; atMs: number }>();
  const asked = new Map<string, Promise<readonly Instance[]>>();

  link.redis.on("ready", () => {
    for (const lease of leases) lease.renew();
  });

  const refresh = async (instanceIds: readonly string[]) => {
    const keys = instanceIds.map((id) => INSTANCE + id);
    const values = await link.run((redis) => redis.mget(keys));
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
    const found = await link.run((redis) => redis.luckyList(SERVICE + service)).catch(() => null);
    const instances = found?.map(instanceOf) ?? before;
    lists.set(service, { instances, atMs: clock.elapsed() });
    return instances;
  };

  return {
    async announce(instance, lost) {
      const lease = new RedisLease({ link, clock, log, leaseMs, instance, lost });
      await lease.enter();
      leases.add(lease);
      return lease;
    },
    async instances(service) {
      const known = lists.get(service);
      if (known && clock.elapsed() - known.atMs < cacheMs) return known.instances;
      const asking = asked.get(service) ?? list(service).finally(() => asked.delete(service));
      asked.set(service, asking);
      return asking;
    },
    async locate(channels) {
      if (channels.length === 0) return [];
      const members = await link.run((redis) =>
        Promise.all(keysOf(channels).map((keys) => redis.luckyHearing(keys.length, ...keys))),
      );
      const hearing = members.flat().map((list) => list.map(memberOf));
      const unsure = hearing.flat().filter(({ id, epoch }) => !isFresh(id, epoch));
      if (unsure.length > 0) await refresh([...new Set(unsure.map(({ id }) => id))]);

      const dead: { channel: string; members: string[] }[] = [];
      const located = hearing.map((list, i) => {
        const isLive = ({ id, epoch }: Member) => epochs.get(id)?.epoch === epoch;
        const gone = list.filter((member) => !isLive(member)).map(({ text }) => text);
        if (gone.length > 0) dead.push({ channel: channels[i]!, members: gone });
        return list.filter(isLive).map(({ id }) => id);
      });
      // Mere tidying: whoever comes next tries again.
      for (const { channel, members } of dead)
        link.run((redis) => redis.srem(CHANNEL + channel, ...members)).catch(() => {});
      return located;
    },
    async close() {
      await Promise.all([...leases].map((lease) => lease.release()));
      link.close();
    },
  };
}

interface Member {
  readonly text: string;
  readonly id: string;
  readonly epoch: string;
}

function memberOf(text: string): Member {
  const [id = "", epoch = ""] = text.split(" ");
  return { text, id, epoch };
}

function instanceOf(json: string): Instance {
  const { epoch: _, ...instance } = JSON.parse(json) as Instance & { epoch: string };
  return instance;
}

interface Link {
  readonly redis: Redis;
  /** Runs a command; what goes wrong is UNAVAILABLE. */
  run<T>(work: (redis: Redis & ScriptCommands) => Promise<T>): Promise<T>;
  close(): void;
}

/** One connection for all commands. Nothing waits for a Redis that is away. */
function openLink(url: string, log: Log): Link {
  const redis = new Redis(url, {
    scripts,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS,
    connectTimeout: COMMAND_MS,
    retryStrategy: (times) => Math.min(20 * 2 ** times, RETRY_AT_MOST_MS),
  }) as Redis & ScriptCommands;
  const tried = new Promise<void>((resolve) => {
    redis.once("ready", resolve);
    redis.once("close", resolve);
  });
  let away = false;
  redis.on("error", (err) => {
    if (!away) log.error({ event: "registry_away", err });
    away = true;
  });
  redis.on("ready", () => {
    if (away) log.info({ event: "registry_back" });
    away = false;
  });

  const run = async <T>(work: (redis: Redis & ScriptCommands) => Promise<T>): Promise<T> => {
    await tried;
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
