import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { kicksEnvelope } from "../socket/envelope.ts";

export interface KicksOptions {
  readonly bus: Pick<Bus, "publish">;
  readonly registry: Pick<Registry, "instances">;
  readonly clock: Clock;
  readonly log: Log;
}

const PUBLISH_TIMEOUT_MS = 5_000;
/** Maximum sessions in one envelope. */
const SESSIONS_PER_KICK = 1_000;
/** The back-off after attempt n is n × BACKOFF_MS, at most MAX_BACKOFF_MS. */
const BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 10_000;

/**
 * Ends sessions on other instances that lost their device slots, by envelopes over the bus. Kicks
 * are retried, joined per instance, until the bus has confirmed them or the instance has left the
 * registry, and with it its sessions.
 */
export class Kicks {
  readonly #options: KicksOptions;
  /** By instance: the sessions to end. The sessions of an instance bound it. */
  readonly #waiting = new Map<string, Set<string>>();
  readonly #pauses = new Set<Timer>();
  #closed = false;

  constructor(options: KicksOptions) {
    this.#options = options;
  }

  /** Ends sessions on an instance with REPLACED. Returns at once. */
  send(instanceId: string, sessionIds: Iterable<string>): void {
    const waiting = this.#waiting.get(instanceId);
    if (waiting) {
      for (const sessionId of sessionIds) waiting.add(sessionId);
      return;
    }
    this.#waiting.set(instanceId, new Set(sessionIds));
    void this.#sendAll(instanceId);
  }

  /** Drops the kicks that wait for a retry. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#pauses) timer.stop();
  }

  /** Sends what waits for an instance. Never rejects. */
  async #sendAll(instanceId: string): Promise<void> {
    const waiting = this.#waiting.get(instanceId)!;
    for (let failures = 0; waiting.size > 0 && !this.#closed; ) {
      const sessionIds = [...waiting].slice(0, SESSIONS_PER_KICK);
      if (await this.#publish(instanceId, sessionIds)) {
        failures = 0;
        for (const sessionId of sessionIds) waiting.delete(sessionId);
        continue;
      }
      failures += 1;
      await this.#pause(Math.min(failures * BACKOFF_MS, MAX_BACKOFF_MS));
      if (!(await this.#isLive(instanceId))) break;
    }
    this.#waiting.delete(instanceId);
  }

  /** Whether the bus confirmed the kicks. */
  async #publish(instanceId: string, sessionIds: readonly string[]): Promise<boolean> {
    const { bus, log } = this.#options;
    try {
      const body = kicksEnvelope(sessionIds, CloseCode.REPLACED);
      const signal = AbortSignal.timeout(PUBLISH_TIMEOUT_MS);
      // Unroutable: the instance has stopped, or its queue was deleted and is declared again.
      return (await bus.publish(instanceId, body, signal)) === "confirmed";
    } catch (err) {
      log.warn({ event: "kick_failed", target: instanceId, sessions: sessionIds.length, err });
      return false;
    }
  }

  async #isLive(instanceId: string): Promise<boolean> {
    const instances = await this.#options.registry.instances("connect");
    return instances.some((instance) => instance.instanceId === instanceId);
  }

  async #pause(ms: number): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(ms, () => {
        this.#pauses.delete(timer);
        resolve();
      });
      this.#pauses.add(timer);
    });
  }
}
