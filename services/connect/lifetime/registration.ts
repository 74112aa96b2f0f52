import type { Log } from "#platform/log.ts";
import type { Lease, Registry } from "#platform/registry/registry.ts";
import type { Sweep } from "../downlink/sweep.ts";
import type { DeviceSlots } from "../opening/device-slots.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";

export interface InstanceAddress {
  readonly instanceId: string;
  /** Address of the sockets for gateways, "http://host:port". */
  readonly address: string;
  /** Address of the sockets for devices without a gateway; empty for none. */
  readonly publicAddress: string;
  /** Address of the operator's port; absent in a single process. */
  readonly opsAddress?: string;
}

/** The instance's entry in the registry, kept under a lease. */
export class Registration {
  readonly #registry: Pick<Registry, "announce">;
  #lease: Lease | undefined;

  constructor(registry: Pick<Registry, "announce">) {
    this.#registry = registry;
  }

  /** Throws until `enter` has resolved. */
  get lease(): Lease {
    if (!this.#lease) throw new Error("the instance is not in the registry yet");
    return this.#lease;
  }

  /**
   * Enters the instance. `lost` is called each time after the registry has lost and re-entered it.
   * Rejects when another process holds the same instance id, or with UNAVAILABLE.
   */
  async enter(instance: InstanceAddress, lost: () => void): Promise<void> {
    this.#lease = await this.#registry.announce({ ...instance, service: "connect", load: 0 }, lost);
  }

  /** Reports the load: the number of sessions, or FULL_LOAD. Does nothing before `enter`. */
  update(load: number): void {
    this.#lease?.update(load);
  }
}

export interface RecoveryOptions {
  channels: Pick<Channels, "rejoinAll">;
  slots: Pick<DeviceSlots, "reclaim">;
  memberships: Pick<Memberships, "check">;
  sessions: Sessions;
  sweep: Pick<Sweep, "run">;
  log: Log;
}

/**
 * Restores the state of the instance after the registry lost it: joins, device slots, and the
 * memberships and entries that could not be delivered, because publishers did not find the
 * instance.
 */
export async function recoverRegistration(options: RecoveryOptions): Promise<void> {
  const { channels, log, sessions } = options;
  log.warn({ event: "registration_lost", sessions: sessions.size });
  await channels.rejoinAll();
  await recoverDeliveries(options);
}

/**
 * Restores what lost envelopes carried: kicks of sessions whose device slots were taken, changes of
 * memberships, and entries. Ended logins are polled.
 */
export async function recoverDeliveries(
  options: Omit<RecoveryOptions, "channels" | "log">,
): Promise<void> {
  const { memberships, sessions, slots, sweep } = options;
  await slots.reclaim();
  for (const { caller } of sessions.all()) if (caller) memberships.check(caller.userId);
  await sweep.run();
}
