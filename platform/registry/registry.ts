/** Load of an instance that has no room: no device is sent to it while another one has room. */
export const FULL_LOAD = 1_000_000_000;

/** One running process of a service. */
export interface Instance {
  /** Stable name, such as "connect-0"; kept over a restart, never shared by two live processes. */
  readonly instanceId: string;
  /** "gateway", "auth", "connect" or "server". */
  readonly service: string;
  /** Address for other services: "http://host:port". */
  readonly address: string;
  /** Address for devices, when it differs; empty for none. */
  readonly publicAddress: string;
  /** Address of its operator's port, for server; absent when no other process may ask there. */
  readonly opsAddress?: string;
  /** Load for balancing, in the service's own unit (connect: sessions, or FULL_LOAD). */
  readonly load: number;
}

/** A session's claim on one of the slots that its user has for devices of the class. */
export interface Claim {
  readonly sessionId: string;
  readonly userId: string;
  readonly deviceId: string;
  readonly deviceClass: number;
  readonly instanceId: string;
}

/** The slots of a user for devices of one class. */
export interface SlotRule {
  /** Maximum number of devices online. */
  readonly limit: number;
  /**
   * Effect of one device too many: "replace" closes the session of the device that is online
   * longest, "refuse" rejects the new device.
   */
  readonly excess: "replace" | "refuse";
}

/** Result of a claim. */
export interface ClaimResult {
  /** All slots are held and none is replaced: the claim was not stored. */
  readonly refused: boolean;
  /** Claims that lost their slot, the oldest first. */
  readonly displaced: readonly Claim[];
}

/**
 * An instance's entry in the registry, with its channels and the claims of its sessions, which are
 * valid only as long as the lease. Calls reject with UNAVAILABLE when the registry cannot be reached.
 */
export interface Lease {
  /** Sets the load; the next renewal publishes it. */
  update(load: number): void;
  /** Adds channels that the instance hears. Idempotent. */
  join(channels: readonly string[]): Promise<void>;
  /** Removes channels that the instance hears. Idempotent. */
  leave(channels: readonly string[]): Promise<void>;
  /**
   * Claims a slot for a session among the slots of the user's devices of its class, in one atomic
   * step. A device has one slot, which its newest session holds. At most `limit` devices keep a
   * slot: under "replace" the newest ones, under "refuse" the earlier ones. A repeated claim with
   * the same session id keeps its age. If a newer session of its device, or under "replace" newer
   * devices, took the slot since the first claim, the result lists the repeated claim itself as
   * displaced. Claims of instances without a lease hold no slot; they are dropped and not reported
   * as displaced.
   */
  claim(claim: Claim, rule: SlotRule): Promise<ClaimResult>;
  /**
   * Frees the slot of a session if the session still holds it; never a slot that another session
   * holds.
   */
  unclaim(claim: Claim): Promise<void>;
  /** Leaves the registry. Idempotent. */
  release(): Promise<void>;
}

/**
 * Directory of the live instances under leases, of the channels that they hear and of the slots that
 * their sessions hold. It is not durable: when its data is lost, deliveries are late, never lost.
 * Adapters: memory, Redis.
 */
export interface Registry {
  /**
   * Enters an instance and renews its lease (about 15 s) until it is released. `lost` is called
   * whenever the registry had lost the entry (restart, flush, expired lease): the entry is already
   * restored by then, but the caller must repeat its joins and claims. Rejects with an error that
   * names the id when another live process uses the same id.
   */
  announce(instance: Instance, lost: () => void): Promise<Lease>;
  /**
   * The live instances of a service, from a cache of at most one second. When the registry cannot
   * be reached, returns the last known instances.
   */
  instances(service: string): Promise<readonly Instance[]>;
  /**
   * The live instances that hear each channel: one list per channel, in the order of the channels;
   * empty for none. Rejects with UNAVAILABLE when the registry cannot be reached.
   */
  locate(channels: readonly string[]): Promise<readonly (readonly string[])[]>;
  /** Releases all leases and closes the connection. Idempotent. */
  close(): Promise<void>;
}
