/** One running process of a service. */
export interface Instance {
  /** Stable name, such as "connect-0"; kept over a restart, never shared by two live processes. */
  readonly instanceId: string;
  /** "gateway", "auth", "connect" or "server". */
  readonly service: string;
  /** Where other services reach it: "http://host:port". */
  readonly address: string;
  /** Where devices reach it, when that differs; empty for none. */
  readonly publicAddress: string;
  /** How busy it is, in the service's own unit (connect: sessions). For balancing. */
  readonly load: number;
}

/** A session's claim to a place. */
export interface Claim {
  readonly sessionId: string;
  readonly userId: string;
  readonly deviceId: string;
  readonly deviceClass: number;
  readonly instanceId: string;
}

/** How many devices of a class a user may have online. */
export interface SlotRule {
  readonly limit: number;
  /** What one more does: "replace" the one that is longest online, or be "refused". */
  readonly excess: "replace" | "refuse";
}

/** What became of a claim. */
export interface ClaimResult {
  /** As many devices as allowed hold a place, and none gives way: the claim was not entered. */
  readonly refused: boolean;
  /** Claims that lost their place, the oldest first. */
  readonly displaced: readonly Claim[];
}

/**
 * An instance's place in the registry, and what points to it: its channels and the claims of its
 * sessions are good only while the lease is. Rejects with UNAVAILABLE when the registry cannot be
 * reached.
 */
export interface Lease {
  /** Tells the load at the next renewal. */
  update(load: number): void;
  /** The instance hears these channels from now on. Idempotent. */
  join(channels: readonly string[]): Promise<void>;
  /** The instance hears these channels no more. Idempotent. */
  leave(channels: readonly string[]): Promise<void>;
  /**
   * Claims a place for a session among those of the user's devices of its class. A device has one
   * place, which goes to its newest session. At most `limit` devices stay: under "replace" the
   * newest ones, under "refuse" those that were there before. One atomic step. A claim made again
   * with the same session id stays as old as it is: when a newer one of its device, or under
   * "replace" of others, came meanwhile, it is itself among those that lost their place. Claims of
   * instances without a lease hold no place and are dropped without a word.
   */
  claim(claim: Claim, rule: SlotRule): Promise<ClaimResult>;
  /** Gives a session's place up, if it still holds it. Never touches another session's. */
  unclaim(claim: Claim): Promise<void>;
  /** Leaves the registry. Idempotent. */
  release(): Promise<void>;
}

/**
 * Who is where: instances under leases, and what points to instances. Nothing durable: when it
 * forgets, deliveries are late, never lost. Adapters: memory, Redis.
 */
export interface Registry {
  /**
   * Enters an instance and keeps its lease (about 15 s) until released. `lost` is called whenever
   * the registry had forgotten the instance (restart, flush, lease run out): the instance is
   * entered again by then, but its channels and claims must be made again. A second live process
   * under the same id is refused with an error that says so.
   */
  announce(instance: Instance, lost: () => void): Promise<Lease>;
  /** The live instances of a service, at most a second old. When the registry cannot be reached:
   * the last known ones. */
  instances(service: string): Promise<readonly Instance[]>;
  /** Which live instances hear each channel; one list a channel, in their order; empty for none.
   * Rejects with UNAVAILABLE when the registry cannot be reached. */
  locate(channels: readonly string[]): Promise<readonly (readonly string[])[]>;
  /** Lets go of everything, leases too. Idempotent. */
  close(): Promise<void>;
}
