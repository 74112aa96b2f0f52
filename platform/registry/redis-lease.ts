import { randomUUID } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { endsWithin, pause, whenReachable } from "#platform/waiting.ts";
import { CLAIMS, INSTANCE, keysOf, type ScriptCommands, SERVICE } from "./redis-scripts.ts";
import type { Claim, ClaimResult, Instance, Lease, SlotRule } from "./registry.ts";

/** Expiry of a user's claims after the last one, seconds. */
const CLAIMS_TTL_S = 30 * 24 * 3_600;

/** Time-out of the release, ms: a Redis that hangs does not answer. */
const RELEASE_TIMEOUT_MS = 1_000;

/** The part of the Redis connection that a lease needs. Every error becomes UNAVAILABLE. */
export interface LeaseConnection {
  run<T>(work: (redis: LeaseCommands) => Promise<T>): Promise<T>;
}

interface LeaseCommands extends ScriptCommands {
  hdel(key: string, field: string): Promise<number>;
}

/** Redis had lost the entry, or another process has it. */
export type LossCause = "expired" | "taken";

export interface RedisLeaseOptions {
  connection: LeaseConnection;
  clock: Clock;
  log: Log;
  leaseMs: number;
  instance: Instance;
  /** Counts lost leases, by cause; absent: not counted. */
  losses: { inc(labels: { cause: LossCause }): void } | undefined;
  lost: () => void;
  /** See RedisRegistryOptions. */
  stopping?: AbortSignal | undefined;
}

/** Every error of the connection is UNAVAILABLE. */
const isAway = (error: unknown) => reasonOf(error) === ErrorReason.UNAVAILABLE;

/** An instance's lease in Redis, renewed until it is released. */
export class RedisLease implements Lease {
  readonly #options: RedisLeaseOptions;
  /** By session id: age of the claims made here, so that a repeated claim keeps its age. */
  readonly #orders = new Map<string, string>();
  readonly #keys: [string, string];
  #epoch = "";
  /** The epoch of the next entry. Retries use the same epoch until Redis has confirmed it. */
  #nextEpoch = randomUUID();
  #load: number;
  /** Whether the registrations must be repeated even if the entry was kept. */
  #repeating = false;
  #renewing: Promise<void> | undefined;
  #stop: (() => void) | undefined;
  #released: Promise<void> | undefined;

  constructor(options: RedisLeaseOptions) {
    const { instanceId, service, load } = options.instance;
    this.#options = options;
    this.#keys = [INSTANCE + instanceId, SERVICE + service];
    this.#load = load;
  }

  /**
   * Enters for the first time. Another entry under the same id may belong to a crashed process:
   * then this call waits until its lease expires. If that lease is renewed during the wait, the
   * process is alive, and this call throws.
   */
  async enter(): Promise<void> {
    const { clock, log, leaseMs, instance, stopping } = this.#options;
    const put = () => this.#put();
    let result = await whenReachable("Redis", put, { clock, log, stopping, isAway });
    const until = clock.elapsed() + 1.5 * leaseMs;
    let leftMs = Number.POSITIVE_INFINITY;
    for (;;) {
      if (typeof result === "string") break;
      if (result > leftMs || clock.elapsed() > until)
        throw new Error(`a live instance with the id ${instance.instanceId} exists already`);
      if (leftMs === Number.POSITIVE_INFINITY)
        log.info({ event: "lease_awaited", instanceId: instance.instanceId, leftMs: result });
      leftMs = result;
      await pause(clock, leaseMs / 10, stopping);
      stopping?.throwIfAborted();
      result = await this.#put();
    }
    const timer = clock.every(leaseMs / 3, () => this.renew());
    this.#stop = () => timer.stop();
  }

  /**
   * Renews the lease, or re-enters when Redis has lost the entry. The next renewal is the
   * retry.
   */
  renew(): void {
    if (this.#renewing || this.#released) return;
    this.#renewing = this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  /** Redis may have lost registrations but not the entry: repeats them after the next renewal. */
  repeat(): void {
    this.#repeating = true;
    this.renew();
  }

  async #renew(): Promise<void> {
    const { log, losses, instance, lost } = this.#options;
    const { instanceId } = instance;
    try {
      const result = await this.#put();
      if (result === "entered") {
        log.warn({ event: "lease_lost", instanceId });
        losses?.inc({ cause: "expired" });
        this.#repeating = true;
      } else if (result !== "kept") {
        log.error({ event: "lease_taken", instanceId, leftMs: result });
        losses?.inc({ cause: "taken" });
        return;
      }
      if (!this.#repeating) return;
      this.#repeating = false;
      lost();
    } catch (err) {
      log.warn({ event: "lease_not_renewed", instanceId, err });
    }
  }

  async #put(): Promise<"kept" | "entered" | number> {
    const { connection, leaseMs, instance } = this.#options;
    const next = this.#nextEpoch;
    const json = (epoch: string) => JSON.stringify({ ...instance, load: this.#load, epoch });
    const held = this.#epoch;
    const result = await connection.run((redis) =>
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
    if (result === "entered") {
      this.#epoch = next;
      this.#nextEpoch = randomUUID();
    }
    return result;
  }

  update(load: number): void {
    this.#load = load;
  }

  async join(channels: readonly string[]): Promise<void> {
    await this.#mark("SADD", channels);
  }

  async leave(channels: readonly string[]): Promise<void> {
    await this.#mark("SREM", channels);
  }

  async #mark(command: "SADD" | "SREM", channels: readonly string[]): Promise<void> {
    const member = `${this.#options.instance.instanceId} ${this.#epoch}`;
    await this.#options.connection.run((redis) =>
      Promise.all(
        keysOf(channels).map((keys) => redis.luckyMark(keys.length, ...keys, command, member)),
      ),
    );
  }

  async claim(claim: Claim, { limit, excess }: SlotRule): Promise<ClaimResult> {
    const { sessionId, userId } = claim;
    const [order, outcome, ...displaced] = await this.#options.connection.run((redis) =>
      redis.luckyClaim(
        CLAIMS + userId,
        sessionId,
        JSON.stringify(claim),
        this.#epoch,
        limit,
        excess,
        this.#orders.get(sessionId) ?? "",
        CLAIMS_TTL_S,
      ),
    );
    const refused = outcome === "refused";
    if (!refused) this.#orders.set(sessionId, order);
    return { refused, displaced: displaced.map((json) => JSON.parse(json) as Claim) };
  }

  async unclaim({ sessionId, userId }: Claim): Promise<void> {
    this.#orders.delete(sessionId);
    await this.#options.connection.run((redis) => redis.hdel(CLAIMS + userId, sessionId));
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    const { connection, log, instance } = this.#options;
    const { instanceId } = instance;
    this.#stop?.();
    const remove = async () => {
      await this.#renewing;
      await connection.run((redis) => redis.luckyRelease(...this.#keys, instanceId, this.#epoch));
    };
    // Without the release, the lease expires by itself.
    const released = remove().catch((err: unknown) => {
      log.warn({ event: "lease_not_released", instanceId, err });
    });
    await endsWithin(RELEASE_TIMEOUT_MS, released);
  }
}
