import { type ContextValues, createContextValues } from "@connectrpc/connect";
import { Batches, type BatchesOptions } from "#platform/batching/batches.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { rankByKey, routeKey } from "#platform/rpc/calling/rendezvous.ts";

/** The route to one server. */
export interface Route {
  /**
   * Context of a call: it is sent to that server, unless the server has left the registry or is
   * failing.
   */
  readonly values: ContextValues;
}

export interface RoutesOptions<T> {
  readonly registry: Pick<Registry, "instances">;
  readonly clock: Clock;
  readonly log: Log;
  /** Hash of the item's conversation. Items with the same hash take the same route. */
  readonly hash: (item: T) => number;
  readonly batches: Omit<BatchesOptions<T>, "flush" | "clock">;
  /** Sends a batch over a route; resolves when its items have their results. Must not reject. */
  readonly send: (batch: readonly T[], route: Route) => Promise<void>;
}

/** The queue of batches for one server. */
interface ServerQueue<T> {
  readonly route: Route;
  readonly batches: Batches<T>;
}

/** Conversations are spread over this many slots, and slots over servers. */
const SLOTS = 64;
/** Interval at which the list of servers is polled, ms. */
const POLL_INTERVAL_MS = 1_000;

/**
 * One queue of batches per server, so that batches are few under light load. Rendezvous hashing of
 * slots keeps a conversation on its server until the server leaves the registry or fails. When the
 * list of servers changes, batches in flight finish before any item takes another route, so that no
 * item overtakes an earlier item of its conversation.
 */
export class Routes<T> {
  readonly #options: RoutesOptions<T>;
  readonly #poller: Timer;
  #servers = "";
  #slots: ServerQueue<T>[];
  /** Items that arrive while routes change; undefined at other times. */
  #held: T[] | undefined;

  constructor(options: RoutesOptions<T>) {
    this.#options = options;
    const only = this.#createQueue(0);
    this.#slots = Array.from({ length: SLOTS }, () => only);
    this.#poller = options.clock.every(POLL_INTERVAL_MS, () => void this.#poll());
    void this.#poll();
  }

  push(item: T): void {
    if (this.#held) this.#held.push(item);
    else this.#slots[this.#options.hash(item) % SLOTS]!.batches.push(item);
  }

  /** Removes and returns the queued items that match. */
  remove(match: (item: T) => boolean): T[] {
    const held = this.#held ?? [];
    if (this.#held) this.#held = held.filter((item) => !match(item));
    return [...this.#queues()]
      .flatMap(({ batches }) => batches.remove(match))
      .concat(held.filter(match));
  }

  close(): void {
    this.#poller.stop();
  }

  #queues(): Set<ServerQueue<T>> {
    return new Set(this.#slots);
  }

  #createQueue(slot: number): ServerQueue<T> {
    const { batches, clock, send } = this.#options;
    const route = { values: createContextValues().set(routeKey, routeKeyOf(slot)) };
    return {
      route,
      batches: new Batches({ ...batches, clock, flush: (batch) => send(batch, route) }),
    };
  }

  async #poll(): Promise<void> {
    const { registry, log } = this.#options;
    try {
      const instances = await registry.instances("server");
      const servers = instances
        .map(({ instanceId }) => instanceId)
        .sort()
        .join(" ");
      if (servers === this.#servers || servers === "" || this.#held) return;
      this.#servers = servers;
      const queues = new Map<string, ServerQueue<T>>();
      const slots = Array.from({ length: SLOTS }, (_, slot) => {
        const { instanceId } = rankByKey(instances, routeKeyOf(slot))[0]!;
        const queue = queues.get(instanceId) ?? this.#createQueue(slot);
        queues.set(instanceId, queue);
        return queue;
      });
      await this.#switchTo(slots);
    } catch (error) {
      log.warn({ event: "server_lookup_failed", err: error });
    }
  }

  async #switchTo(slots: ServerQueue<T>[]): Promise<void> {
    this.#held = [];
    await Promise.all([...this.#queues()].map(({ batches }) => batches.idle()));
    const held = this.#held;
    this.#held = undefined;
    this.#slots = slots;
    for (const item of held) this.push(item);
  }
}

function routeKeyOf(slot: number): string {
  return `uplink-${slot}`;
}
