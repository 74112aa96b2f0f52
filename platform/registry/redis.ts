import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Clock } from "../clock.ts";
import { fail } from "../errors.ts";
import type { Log } from "../log.ts";
import {
  CHANNEL,
  CLAIMS,
  INSTANCE,
  type ScriptCommands,
  SERVICE,
  scripts,
} from "./redis-scripts.ts";
import type { Claim, Instance, Lease, Registry } from "./registry.ts";

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
const CLAIMS_KEPT_S = 30 * 24 * 3_600;

/**
 * A registry in Redis, which may forget everything at any time. What an instance wrote carries its
 * epoch, a random word that it enters under; an epoch that is not the one in the instance's key is
 * dead for good. Redis being away makes calls fail at once or within 2 s, and heals by itself.
 */
export function createRedisRegistry(options: RedisRegistryOptions): Registry {
  const { clock, log, leaseMs = 15_000, cacheMs = 1_000 } = options;
  const link = openLink(options.url, log);
  const leases = new Set<KeptLease>();
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
      if (value) epochs.set(id, { epoch: JSON.parse(value).epoch, atMs: clock.now() });
      else epochs.delete(id);
    }
  };
  const isFresh = (instanceId: string, epoch: string): boolean => {
    const known = epochs.get(instanceId);
    return known?.epoch === epoch && clock.now() - known.atMs < cacheMs;
  };

  const list = async (service: string): Promise<readonly Instance[]> => {
    const before = lists.get(service)?.instances ?? [];
    const found = await link.run((redis) => redis.luckyList(SERVICE + service)).catch(() => null);
    const instances = found?.map(instanceOf) ?? before;
    lists.set(service, { instances, atMs: clock.now() });
    return instances;
  };

  return {
    async announce(instance, lost) {
      const lease = new KeptLease({ link, clock, log, leaseMs, instance, lost });
      await lease.enter();
      leases.add(lease);
      return lease;
    },
    async instances(service) {
      const known = lists.get(service);
      if (known && clock.now() - known.atMs < cacheMs) return known.instances;
      const asking = asked.get(service) ?? list(service).finally(() => asked.delete(service));
      asked.set(service, asking);
      return asking;
    },
    async locate(channels) {
      if (channels.length === 0) return [];
      const members = await link.pipeline<string[]>(
        channels.map((channel) => ["smembers", CHANNEL + channel]),
      );
      const hearing = members.map((list) => list.map(memberOf));
      const unsure = hearing.flat().filter(({ id, epoch }) => !isFresh(id, epoch));
      if (unsure.length > 0) await refresh([...new Set(unsure.map(({ id }) => id))]);

      const dead: string[][] = [];
      const located = hearing.map((list, i) => {
        const isLive = ({ id, epoch }: Member) => epochs.get(id)?.epoch === epoch;
        const gone = list.filter((member) => !isLive(member)).map(({ text }) => text);
        if (gone.length > 0) dead.push(["srem", CHANNEL + channels[i]!, ...gone]);
        return list.filter(isLive).map(({ id }) => id);
      });
      // Mere tidying: whoever comes next tries again.
      if (dead.length > 0) link.pipeline(dead).catch(() => {});
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

interface LeaseOptions {
  link: Link;
  clock: Clock;
  log: Log;
  leaseMs: number;
  instance: Instance;
  lost: () => void;
}

class KeptLease implements Lease {
  readonly #options: LeaseOptions;
  /** The age of the claims made here, so that a claim made again stays as old as it is. */
  readonly #orders = new Map<string, string>();
  readonly #keys: [string, string];
  #epoch = "";
  #load: number;
  #renewing: Promise<void> | undefined;
  #stop: (() => void) | undefined;
  #released: Promise<void> | undefined;

  constructor(options: LeaseOptions) {
    const { instanceId, service, load } = options.instance;
    this.#options = options;
    this.#keys = [INSTANCE + instanceId, SERVICE + service];
    this.#load = load;
  }

  /**
   * Enters for the first time. A namesake may be a process that crashed: then its lease runs out,
   * and this waits for it. One that renews its lease is alive.
   */
  async enter(): Promise<void> {
    const { clock, log, leaseMs, instance } = this.#options;
    const until = clock.now() + 1.5 * leaseMs;
    let leftMs = Number.POSITIVE_INFINITY;
    for (;;) {
      const result = await this.#put();
      if (typeof result === "string") break;
      if (result > leftMs || clock.now() > until)
        throw new Error(`a live instance with the id ${instance.instanceId} exists already`);
      if (leftMs === Number.POSITIVE_INFINITY)
        log.info({ event: "lease_awaited", instanceId: instance.instanceId, leftMs: result });
      leftMs = result;
      await new Promise<void>((resolve) => clock.after(leaseMs / 10, resolve));
    }
    const timer = clock.every(leaseMs / 3, () => this.renew());
    this.#stop = () => timer.stop();
  }

  /** Renews the lease, or enters again when Redis has forgotten it. Errors are left to the next. */
  renew(): void {
    if (this.#renewing || this.#released) return;
    this.#renewing = this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  async #renew(): Promise<void> {
    const { log, instance, lost } = this.#options;
    const { instanceId } = instance;
    try {
      const result = await this.#put();
      if (result === "entered") {
        log.warn({ event: "lease_lost", instanceId });
        lost();
      } else if (result !== "kept") {
        log.error({ event: "lease_taken", instanceId, leftMs: result });
      }
    } catch (err) {
      log.warn({ event: "lease_not_renewed", instanceId, err });
    }
  }

  async #put(): Promise<"kept" | "entered" | number> {
    const { link, leaseMs, instance } = this.#options;
    const next = randomUUID();
    const json = (epoch: string) => JSON.stringify({ ...instance, load: this.#load, epoch });
    const held = this.#epoch;
    const result = await link.run((redis) =>
      redis.luckyEnter(
        ...this.#keys,
        instance.instanceId,
        held,
        next,
        json(held),
        json(next),
        leaseMs,
      ),
    );
    if (result === "entered") this.#epoch = next;
    return result;
  }

  update(load: number): void {
    this.#load = load;
  }

  async join(channels: readonly string[]): Promise<void> {
    await this.#each("sadd", channels);
  }

  async leave(channels: readonly string[]): Promise<void> {
    await this.#each("srem", channels);
  }

  async #each(command: "sadd" | "srem", channels: readonly string[]): Promise<void> {
    const member = `${this.#options.instance.instanceId} ${this.#epoch}`;
    await this.#options.link.pipeline(channels.map((c) => [command, CHANNEL + c, member]));
  }

  async claim(claim: Claim, limit: number): Promise<readonly Claim[]> {
    const { sessionId, userId } = claim;
    const [order, ...displaced] = await this.#options.link.run((redis) =>
      redis.luckyClaim(
        CLAIMS + userId,
        sessionId,
        JSON.stringify(claim),
        this.#epoch,
        limit,
        this.#orders.get(sessionId) ?? "",
        CLAIMS_KEPT_S,
      ),
    );
    this.#orders.set(sessionId, order);
    return displaced.map((json) => JSON.parse(json) as Claim);
  }

  async unclaim({ sessionId, userId }: Claim): Promise<void> {
    this.#orders.delete(sessionId);
    await this.#options.link.run((redis) => redis.hdel(CLAIMS + userId, sessionId));
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    const { link, log, instance } = this.#options;
    const { instanceId } = instance;
    this.#stop?.();
    await this.#renewing;
    try {
      await link.run((redis) => redis.luckyRelease(...this.#keys, instanceId, this.#epoch));
    } catch (err) {
      // It runs out by itself.
      log.warn({ event: "lease_not_released", instanceId, err });
    }
  }
}

interface Link {
  readonly redis: Redis;
  /** Runs a command; what goes wrong is UNAVAILABLE. */
  run<T>(work: (redis: Redis & ScriptCommands) => Promise<T>): Promise<T>;
  /** Runs many commands in one round trip; the first that goes wrong is UNAVAILABLE. */
  pipeline<T>(commands: readonly string[][]): Promise<T[]>;
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
    pipeline: <T>(commands: readonly string[][]) =>
      run(async () => {
        if (commands.length === 0) return [];
        const results = (await redis.pipeline(commands.map((c) => [...c])).exec()) ?? [];
        return results.map(([error, result]) => {
          if (error) throw error;
          return result as T;
        });
      }),
    close: () => redis.disconnect(),
  };
}
