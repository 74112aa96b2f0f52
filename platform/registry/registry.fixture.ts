import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Claim, ClaimResult, Instance, Lease, Registry, SlotRule } from "./registry.ts";

/** The registry of one process, which the test can pause like a suspended process. */
export interface RegistryProcess {
  readonly registry: Registry;
  /** Pauses the process until its leases have expired and no cache of another process holds them. */
  expireLeases(): Promise<void>;
  /** Continues the process and runs its next renewal at once. */
  resume(): void;
}

/** Creates the registries of the suite: all processes of one test share the same instances. */
export interface RegistryWorld {
  /** An empty registry. Each call of the result creates another process, closed with the test. */
  open(t: TestContext): Promise<() => Promise<RegistryProcess>>;
}

export const nothing = () => {};
export const ids = (instances: readonly Instance[]) => instances.map((i) => i.instanceId);

/** A connect instance by its id. */
export function instance(instanceId: string, over: Partial<Instance> = {}): Instance {
  const address = `http://127.0.0.1/${instanceId}`;
  return { instanceId, service: "connect", address, publicAddress: "", load: 0, ...over };
}

/** A claim of user 1 on a phone. */
export function session(sessionId: string, deviceId: string, instanceId: string): Claim {
  return { sessionId, userId: "1", deviceId, deviceClass: 1, instanceId };
}

/** A rule that replaces the oldest devices beyond the limit. */
export const replacing = (limit: number): SlotRule => ({ limit, excess: "replace" });
export const refusing = (limit: number): SlotRule => ({ limit, excess: "refuse" });

/** The result of a stored claim with the claims that it displaced. */
export const kept = (...displaced: Claim[]): ClaimResult => ({ refused: false, displaced });

export async function twoLeases(start: () => Promise<RegistryProcess>) {
  const leases: [Lease, Lease] = [
    await (await start()).registry.announce(instance("connect-0"), nothing),
    await (await start()).registry.announce(instance("connect-1"), nothing),
  ];
  /**
   * Claims a slot for user 1 by one of the two instances. Returns the session ids that were
   * displaced. A number as the rule is the limit of `replacing`.
   */
  const claim = async (
    at: number,
    sessionId: string,
    deviceId: string,
    rule: SlotRule | number,
  ) => {
    const made = session(sessionId, deviceId, `connect-${at}`);
    const given = typeof rule === "number" ? replacing(rule) : rule;
    const { refused, displaced } = await leases[at]!.claim(made, given);
    if (!refused) return displaced.map((c) => c.sessionId);
    assert.deepEqual(displaced, []);
    return "refused" as const;
  };
  return { leases, claim };
}

/** The clock of one process. While it is paused, its timers do not fire, but time advances. */
export class PausableClock implements Clock {
  readonly #base: Clock;
  readonly #repeated = new Set<() => void>();
  #paused = false;

  constructor(base: Clock) {
    this.#base = base;
  }

  now(): number {
    return this.#base.now();
  }

  elapsed(): number {
    return this.#base.elapsed();
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#base.after(delayMs, () => {
      if (!this.#paused) callback();
    });
  }

  every(intervalMs: number, callback: () => void): Timer {
    const guarded = () => {
      if (!this.#paused) callback();
    };
    const timer = this.#base.every(intervalMs, guarded);
    this.#repeated.add(guarded);
    return {
      stop: () => {
        this.#repeated.delete(guarded);
        timer.stop();
      },
    };
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    for (const callback of this.#repeated) callback();
  }
}
