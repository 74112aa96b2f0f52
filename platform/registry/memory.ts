import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Claim, Instance, Lease, Registry, SlotRule } from "./registry.ts";

export interface MemoryRegistryOptions {
  clock: Clock;
  /** Duration of a lease, milliseconds. It is renewed three times in that time. */
  leaseMs?: number;
  /** State that several registries of one process share; its own by default. */
  hub?: Hub;
}

interface Entered {
  readonly instance: Instance;
  readonly epoch: number;
  /** Elapsed milliseconds: a step of the time of day expires no lease. */
  readonly expiresAtMs: number;
  /** Channels that the instance joined under this epoch. */
  readonly hears: Set<string>;
}

interface Held {
  readonly claim: Claim;
  readonly epoch: number;
  readonly order: number;
}

/** State of a memory registry. An entry is valid only under the epoch of a live lease. */
export interface Hub {
  readonly instances: Map<string, Entered>;
  /** By user id: the claims of the user's sessions. */
  readonly claims: Map<string, readonly Held[]>;
  /** Source of unique, ascending numbers for epochs and for the age of claims. */
  count: number;
}

/** The entry of an instance; undefined when its lease has expired. */
type Live = (instanceId: string) => Entered | undefined;

export function createHub(): Hub {
  return { instances: new Map(), claims: new Map(), count: 0 };
}

/** A registry inside one process. All services of the process must share it. */
export function createMemoryRegistry(options: MemoryRegistryOptions): Registry {
  const { clock, leaseMs = 15_000, hub = createHub() } = options;
  const leases = new Set<Lease>();
  let open = true;

  const live: Live = (instanceId) => {
    const entered = hub.instances.get(instanceId);
    return entered && entered.expiresAtMs > clock.elapsed() ? entered : undefined;
  };
  const requireOpen = () => {
    if (!open) throw fail(ErrorReason.UNAVAILABLE, "the registry is closed");
  };

  return {
    async announce(instance, lost) {
      requireOpen();
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
      requireOpen();
      const entries = [...hub.instances].filter(([id]) => live(id));
      return channels.map((channel) =>
        entries.filter(([, { hears }]) => hears.has(channel)).map(([id]) => id),
      );
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
  live: Live;
  instance: Instance;
  lost: () => void;
}

function enter({ hub, clock, leaseMs, live, instance, lost }: EnterOptions): Lease {
  const id = instance.instanceId;
  /** By session id: age of the claims made here, so that a repeated claim keeps its age. */
  const orders = new Map<string, number>();
  let load = instance.load;
  let epoch = 0;
  let hears = new Set<string>();

  const renew = () => {
    const now = live(id);
    if (now && now.epoch !== epoch) return;
    const renewed = now !== undefined;
    if (!renewed) {
      epoch = ++hub.count;
      hears = new Set();
    }
    const expiresAtMs = clock.elapsed() + leaseMs;
    hub.instances.set(id, { instance: { ...instance, load }, epoch, expiresAtMs, hears });
    if (!renewed) evictExpired(hub, live);
    if (!renewed && renewal) lost();
  };
  let renewal: Timer | undefined;
  renew();
  renewal = clock.every(leaseMs / 3, renew);

  return {
    update(now) {
      load = now;
    },
    async join(channels) {
      for (const channel of channels) hears.add(channel);
    },
    async leave(channels) {
      for (const channel of channels) hears.delete(channel);
    },
    async claim(claim, rule) {
      const { sessionId, userId, deviceClass } = claim;
      const held = (hub.claims.get(userId) ?? []).filter((one) => isValid(one, live));
      const order = orders.get(sessionId) ?? ++hub.count;
      const mine = { claim, epoch, order };
      const rest = held.filter((one) => one.claim.sessionId !== sessionId);
      const others = rest.filter((one) => one.claim.deviceClass === deviceClass);
      const { refused, losers } = assignSlots(mine, others, rule);
      if (!refused) orders.set(sessionId, order);
      const left = refused ? held : [...rest, mine].filter((one) => !losers.includes(one));
      setClaims(hub, userId, left);
      return { refused, displaced: losers.map((loser) => loser.claim) };
    },
    async unclaim(claim) {
      orders.delete(claim.sessionId);
      const held = hub.claims.get(claim.userId) ?? [];
      const left = held.filter((one) => one.claim.sessionId !== claim.sessionId);
      setClaims(hub, claim.userId, left);
    },
    async release() {
      renewal?.stop();
      if (hub.instances.get(id)?.epoch === epoch) hub.instances.delete(id);
      evictExpired(hub, live);
    },
  };
}

/**
 * Assigns the slots of a class with the claim `mine`. Returns the claims that lose theirs, the
 * oldest first.
 */
function assignSlots(
  mine: Held,
  others: readonly Held[],
  { limit, excess }: SlotRule,
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
  // Earlier claims keep their slots even above the limit: a lowered limit displaces no device.
  if (at >= limit) return { refused: true, losers: [] };
  if (at >= 0) for (const late of devices.slice(Math.max(limit, at + 1))) losers.add(late);
  return { refused: false, losers: oldestFirst.filter((one) => losers.has(one)) };
}

/** Whether a claim is valid: its instance still has the lease under which the claim was made. */
function isValid({ claim, epoch }: Held, live: Live): boolean {
  return live(claim.instanceId)?.epoch === epoch;
}

function setClaims(hub: Hub, userId: string, held: readonly Held[]): void {
  // A copy has the exact size: an array of `filter` reserves space for a dozen elements, and nearly
  // always holds one.
  if (held.length > 0) hub.claims.set(userId, [...held]);
  else hub.claims.delete(userId);
}

/** Evicts instances whose lease has expired, and the claims made under it. */
function evictExpired(hub: Hub, live: Live): void {
  for (const id of hub.instances.keys()) if (!live(id)) hub.instances.delete(id);
  for (const [userId, held] of hub.claims) {
    const left = held.filter((one) => isValid(one, live));
    if (left.length < held.length) setClaims(hub, userId, left);
  }
}
