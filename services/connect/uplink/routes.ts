import { type ContextValues, createContextValues } from "@connectrpc/connect";
import { Batches, type BatchesOptions } from "#platform/batching/batches.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { rankByKey, routeKey } from "#platform/rpc/calling/rendezvous.ts";

/** The way to one server. */
export interface Route {
  /** For the call: it goes to that server while it lives and does its work. */
  readonly values: ContextValues;
}

export interface RoutesOptions<T> {
  readonly registry: Pick<Registry, "instances">;
  readonly clock: Clock;
  readonly log: Log;
  /** Of an item's conversation: those with the same one take the same route. */
  readonly hash: (item: T) => number;
  readonly batches: Omit<BatchesOptions<T>, "carry" | "clock">;
  /** Carries a batch to its end. Must not reject. */
  readonly carry: (batch: readonly T[], route: Route) => Promise<void>;
}

interface Way<T> {
  readonly route: Route;
  readonly batches: Batches<T>;
}

/** Conversations are spread over so many slots, and slots over servers. */
const SLOTS = 64;
/** How often it looks for servers that came or went. */
const LOOK_MS = 1_000;

/**
 * One queue of batches for each server, so that at little load there are few batches: by rendezvous
 * of slots, a conversation stays with its server until that goes, or fails. When servers come or go,
 * what is on its way ends before anything takes another route, so that nothing overtakes.
 */
export class Routes<T> {
  readonly #options: RoutesOptions<T>;
  readonly #watch: Timer;
  #servers = "";
  #slots: Way<T>[];
  /** What came while routes change. */
  #held: T[] | undefined;

  constructor(options: RoutesOptions<T>) {
    this.#options = options;
    const only = this.#way(0);
    this.#slots = Array.from({ length: SLOTS }, () => only);
    this.#watch = options.clock.every(LOOK_MS, () => void this.#look());
    void this.#look();
  }

  push(item: T): void {
    if (this.#held) this.#held.push(item);
    else this.#slots[this.#options.hash(item) % SLOTS]!.batches.push(item);
  }

  /** Takes the waiting items back that match. */
  withdraw(match: (item: T) => boolean): T[] {
    const held = this.#held ?? [];
    if (this.#held) this.#held = held.filter((item) => !match(item));
    return [...this.#ways()]
      .flatMap(({ batches }) => batches.withdraw(match))
      .concat(held.filter(match));
  }

  close(): void {
    this.#watch.stop();
  }

  #ways(): Set<Way<T>> {
    return new Set(this.#slots);
  }

  #way(slot: number): Way<T> {
    const { batches, clock, carry } = this.#options;
    const route = { values: createContextValues().set(routeKey, keyOf(slot)) };
    return {
      route,
      batches: new Batches({ ...batches, clock, carry: (batch) => carry(batch, route) }),
    };
  }

  async #look(): Promise<void> {
    const { registry, log } = this.#options;
    try {
      const instances = await registry.instances("server");
      const servers = instances
        .map(({ instanceId }) => instanceId)
        .sort()
        .join(" ");
      if (servers === this.#servers || servers === "" || this.#held) return;
      this.#servers = servers;
      const ways = new Map<string, Way<T>>();
      const slots = Array.from({ length: SLOTS }, (_, slot) => {
        const { instanceId } = rankByKey(instances, keyOf(slot))[0]!;
        const way = ways.get(instanceId) ?? this.#way(slot);
        ways.set(instanceId, way);
        return way;
      });
      await this.#change(slots);
    } catch (error) {
      log.warn({ event: "servers_not_found", err: error });
    }
  }

  async #change(slots: Way<T>[]): Promise<void> {
    this.#held = [];
    await Promise.all([...this.#ways()].map(({ batches }) => batches.idle()));
    const held = this.#held;
    this.#held = undefined;
    this.#slots = slots;
    for (const item of held) this.push(item);
  }
}

function keyOf(slot: number): string {
  return `uplink-${slot}`;
}
