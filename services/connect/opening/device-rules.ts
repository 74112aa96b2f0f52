import type { Client } from "@connectrpc/connect";
import { type DeviceClass, DeviceExcess } from "#gen/lucky/auth/v1/auth_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { SlotRule } from "#platform/registry/registry.ts";

export interface DeviceRulesOptions {
  policies: Pick<Client<typeof SessionService>, "getDevicePolicy">;
  clock: Clock;
  log: Log;
  /** Time between the end of one poll and the next. */
  intervalMs: number;
}

const POLL_TIMEOUT_MS = 5_000;
const NO_DEVICES: SlotRule = { limit: 0, excess: "refuse" };

/**
 * How many devices of each class a user may have online: auth's policy, polled, so that a change
 * needs no restart. While auth cannot be reached the cached rules stay in force.
 */
export class DeviceRules {
  readonly #options: DeviceRulesOptions;
  readonly #stop = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #rules: ReadonlyMap<DeviceClass, SlotRule> | undefined;
  #timer: Timer | undefined;
  #failing = false;

  constructor(options: DeviceRulesOptions) {
    this.#options = options;
    void this.#poll();
  }

  /** Whether auth has answered a poll yet. */
  get known(): boolean {
    return this.#rules !== undefined;
  }

  /**
   * The rule of a class. Waits for auth's first answer. A class without a rule may have no device.
   */
  async of(deviceClass: DeviceClass): Promise<SlotRule> {
    if (!this.#rules) await this.#first.promise;
    return this.#rules?.get(deviceClass) ?? NO_DEVICES;
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.stop();
    this.#first.resolve();
  }

  async #poll(): Promise<void> {
    const { policies, clock, log, intervalMs } = this.#options;
    const { signal } = this.#stop;
    try {
      const { rules } = await policies.getDevicePolicy({}, { signal, timeoutMs: POLL_TIMEOUT_MS });
      this.#rules = new Map(
        rules.map(({ deviceClass, maxDevices, excess }) => [
          deviceClass,
          {
            limit: maxDevices,
            excess: excess === DeviceExcess.REFUSE_NEW ? "refuse" : "replace",
          },
        ]),
      );
      this.#first.resolve();
      this.#failing = false;
    } catch (err) {
      if (!this.#failing && !signal.aborted) log.warn({ event: "device_policy_failed", err });
      this.#failing = true;
    }
    if (!signal.aborted) this.#timer = clock.after(intervalMs, () => void this.#poll());
  }
}
