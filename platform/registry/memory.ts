import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "../clock.ts";
import { fail } from "../errors.ts";
import type { Claim, Instance, Lease, PlaceRule, Registry } from "./registry.ts";

export interface MemoryRegistryOptions {
  clock: Clock;
  /** How long an instance stays without renewal, milliseconds. It is renewed three times as often. */
  leaseMs?: number;
  /** What several registries of one process share; its own by default. */
  hub?: Hub;
}

interface Entered {
  instance: Instance;
  epoch: number;
  expiresAtMs: number;
}

interface Held {
  readonly claim: Claim;
  readonly epoch: number;
  readonly order: number;
}

/** What a memory registry knows: everything is good only under the epoch of a live lease. */
export interface Hub {
  readonly instances: Map<string, Entered>;
  /** By channel: the instances that hear it, each with the epoch under which it joined. */
  readonly channels: Map<string, Map<string, number>>;
  /** By user: the claims of the user's sessions, by session id. */
  readonly claims: Map<string, Map<string, Held>>;
  /** Counts epochs and the age of claims: every number is given once. */
  count: number;
}

export function createHub(): Hub {
  return { instances: new Map(), channels: new Map(), claims: new Map(), count: 0 };
}

/** A registry inside one process: give the same one to every service in it. */
export function createMemoryRegistry(options: MemoryRegistryOptions): Registry {
  const { clock, leaseMs = 15_000, hub = createHub() } = options;
  const leases = new Set<Lease>();
  let open = true;

  const live = (instanceId: string): Entered | undefined => {
    const entered = hub.instances.get(instanceId);
    return entered && entered.expiresAtMs > clock.now() ? entered : undefined;
  };
  const reachable = () => {
    if (!open) throw fail(ErrorReason.UNAVAILABLE, "the registry is closed");
  };

  return {
    async announce(instance, lost) {
      reachable();
      if (live(instance.instanceId))
        throw new Error(`a live instance with the id ${instance.instanceId} exists already`);
      const lease = enter({ hub, clock, leaseMs, live, instance, lost });
      leases.add(lease);
      return lease;
    },
    async instances(service) {
      const all = [...hub.instances.values()].map((entered) => entered.instance);
      return all.filter((i) => i.service === service && live(i.instanceId));
    },
    async locate(channels) {
      reachable();
      return channels.map((channel) => {
        const hearing = hub.channels.get(channel) ?? [];
        return [...hearing].filter(([id, epoch]) => live(id)?.epoch === epoch).map(([id]) => id);
      });
    },
    async close() {
      open = false;
      await Promise.all([...leases].map((lease) => lease.release()));
    },
  };
}

interface EnterOptions {
  hub: Hub;
  clock: Clock;
  leaseMs: number;
  live: (instanceId: string) => Entered | undefined;
  instance: Instance;
  lost: () => void;
}

function enter({ hub, clock, leaseMs, live, instance, lost }: EnterOptions): Lease {
  const id = instance.instanceId;
  /** The age of the claims made here, so that a claim made again stays as old as it is. */
  const orders = new Map<string, number>();
  let load = instance.load;
  let epoch = 0;

  const renew = () => {
    const now = live(id);
    if (now && now.epoch !== epoch) return;
    const kept = now !== undefined;
    if (!kept) epoch = ++hub.count;
    const expiresAtMs = clock.now() + leaseMs;
    hub.instances.set(id, { instance: { ...instance, load }, epoch, expiresAtMs });
    if (!kept) forget(hub, live);
    if (!kept && renewal) lost();
  };
  let renewal: Timer | undefined;
  renew();
  renewal = clock.every(leaseMs / 3, renew);

  return {
    update(now) {
      load = now;
    },
    async join(channels) {
      for (const channel of channels) {
        const hearing = hub.channels.get(channel) ?? new Map<string, number>();
        hub.channels.set(channel, hearing.set(id, epoch));
      }
    },
    async leave(channels) {
      for (const channel of channels) {
        const hearing = hub.channels.get(channel);
        if (hearing?.get(id) === epoch) hearing.delete(id);
        if (hearing?.size === 0) hub.channels.delete(channel);
      }
    },
    async claim(claim, rule) {
      const held = hub.claims.get(claim.userId) ?? new Map<string, Held>();
      hub.claims.set(claim.userId, held);
      for (const [sessionId, other] of held)
        if (live(other.claim.instanceId)?.epoch !== other.epoch) held.delete(sessionId);

      const { sessionId, deviceClass } = claim;
      const order = orders.get(sessionId) ?? ++hub.count;
      const mine = { claim, epoch, order };
      const others = [...held.values()].filter(
        (one) => one.claim.deviceClass === deviceClass && one.claim.sessionId !== sessionId,
      );
      const { refused, losers } = compete(mine, others, rule);
      if (!refused) {
        orders.set(sessionId, order);
        held.set(sessionId, mine);
      }
      for (const loser of losers) held.delete(loser.claim.sessionId);
      return { refused, displaced: losers.map((loser) => loser.claim) };
    },
    async unclaim(claim) {
      orders.delete(claim.sessionId);
      const held = hub.claims.get(claim.userId);
      held?.delete(claim.sessionId);
      if (held?.size === 0) hub.claims.delete(claim.userId);
    },
    async release() {
      renewal?.stop();
      if (hub.instances.get(id)?.epoch === epoch) hub.instances.delete(id);
      forget(hub, live);
    },
  };
}

/** Who of a class loses the place when `mine` comes; the oldest first. */
function compete(
  mine: Held,
  others: readonly Held[],
  { limit, excess }: PlaceRule,
): { refused: boolean; losers: Held[] } {
  const oldestFirst = [...others, mine].sort((a, b) => a.order - b.order);
  const newestOf = new Map(oldestFirst.map((one) => [one.claim.deviceId, one]));
  const losers = new Set(oldestFirst.filter((one) => newestOf.get(one.claim.deviceId) !== one));
  const devices = oldestFirst.filter((one) => !losers.has(one));
  if (excess === "replace") {
    const kept = new Set(devices.slice(Math.max(0, devices.length - limit)));
    return { refused: false, losers: oldestFirst.filter((one) => !kept.has(one)) };
  }
  const at = devices.indexOf(mine);
  // Those before it stay, however many: a limit that was lowered takes nobody's place.
  if (at >= limit) return { refused: true, losers: [] };
  if (at >= 0) for (const late of devices.slice(Math.max(limit, at + 1))) losers.add(late);
  return { refused: false, losers: oldestFirst.filter((one) => losers.has(one)) };
}

/** Drops what points to an instance that is gone, so that nothing outlives its lease for long. */
function forget(hub: Hub, live: (instanceId: string) => Entered | undefined): void {
  for (const [channel, hearing] of hub.channels) {
    for (const [id, epoch] of hearing) if (live(id)?.epoch !== epoch) hearing.delete(id);
    if (hearing.size === 0) hub.channels.delete(channel);
  }
  for (const [userId, held] of hub.claims) {
    for (const [sessionId, { claim, epoch }] of held)
      if (live(claim.instanceId)?.epoch !== epoch) held.delete(sessionId);
    if (held.size === 0) hub.claims.delete(userId);
  }
}
