import type { Bus } from "#platform/bus/bus.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";
import type { ServerMetrics } from "../metrics.ts";
import {
  type Delivery,
  deliveryPart,
  envelopeOf,
  type Part,
  type Signal,
  signalPart,
} from "./envelopes.ts";

export interface RelayOptions {
  readonly bus: Bus;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  readonly publishTimeoutMs: number;
  /** Batches on their way at once; more are left to the outbox. */
  readonly maxBatches: number;
  /** Bytes of them at most. */
  readonly maxBytes: number;
  /** Batches of signals on their way at once; more are dropped. */
  readonly maxSignals: number;
  /** Called when a batch has reached every instance concerned. */
  readonly confirmed: (outboxId: string) => void;
}

/** What one commit brought. */
export interface RelayBatch {
  readonly outboxId: string;
  /** Of all its entries. */
  readonly bytes: number;
  /** Made when its turn has come: encoding waits until somebody needs it. */
  readonly deliveries: () => readonly Delivery[];
}

/** Entries in one envelope, about, bytes. */
const ENVELOPE_BYTES = 262_144;
/** How often the instances are asked for, so that they are known when the registry goes away. */
const INSTANCES_MS = 2_000;

/** Carries what was committed to the instances that serve those who hear it. */
export class Relay {
  readonly #options: RelayOptions;
  /** Batches that wait for those before them to be handed to the bus. */
  #waiting: RelayBatch[] = [];
  #handing: Promise<void> | undefined;
  readonly #work = new Set<Promise<void>>();
  #batches = 0;
  #bytes = 0;
  #signals = 0;
  #asking: Timer | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Learns which instances there are, and again at an interval. Never rejects. */
  async start(): Promise<void> {
    const { registry, clock } = this.#options;
    this.#asking = clock.every(INSTANCES_MS, () => void registry.instances("connect"));
    await registry.instances("connect");
  }

  /** Learns of instances no more; what is offered is still published. */
  stop(): void {
    this.#asking?.stop();
  }

  /**
   * Publishes a batch, after those offered before it; what was offered meanwhile goes along, one
   * envelope an instance for all. Never throws, never waits: what cannot be published now is in the
   * outbox.
   */
  offer(batch: RelayBatch): void {
    const { bus, maxBatches, maxBytes, metrics } = this.#options;
    const full = this.#batches >= maxBatches || this.#bytes + batch.bytes > maxBytes;
    if (full || !bus.ready()) {
      metrics.relayed("outbox", 1);
      return;
    }
    this.#count(1, batch.bytes);
    this.#waiting.push(batch);
    this.#handing ??= this.#hand();
  }

  /**
   * Publishes deliveries and waits for the confirmations. Throws when one did not come; then some
   * may have arrived.
   */
  async publish(deliveries: readonly Delivery[]): Promise<void> {
    await Promise.all(await this.#send(deliveries.map(deliveryPart)));
  }

  /** Publishes signals, once; whatever goes wrong is counted and forgotten. */
  signal(signals: readonly Signal[]): void {
    const { bus, maxSignals, metrics } = this.#options;
    if (signals.length === 0) return;
    if (this.#signals >= maxSignals || !bus.ready()) {
      metrics.signals("dropped", signals.length);
      return;
    }
    this.#signals++;
    const work = this.#send(signals.map(signalPart))
      .then((confirmations) => Promise.all(confirmations))
      .then(
        () => metrics.signals("published", signals.length),
        () => metrics.signals("failed", signals.length),
      )
      .finally(() => {
        this.#signals--;
      });
    this.#track(work);
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#work.size > 0 || this.#batches > 0) {
      await Promise.all([this.#handing, ...this.#work]);
    }
  }

  /** Hands what waits to the bus, in the order in which it was offered. Never rejects. */
  async #hand(): Promise<void> {
    while (this.#waiting.length > 0) await this.#begin(this.#take());
    this.#handing = undefined;
  }

  /** The next batches, as many as one envelope should carry. */
  #take(): RelayBatch[] {
    let bytes = 0;
    let count = 0;
    for (const batch of this.#waiting) {
      if (count > 0 && bytes + batch.bytes > ENVELOPE_BYTES) break;
      bytes += batch.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Hands batches to the bus; resolves before they are confirmed. Never rejects. */
  async #begin(batches: readonly RelayBatch[]): Promise<void> {
    const { metrics, confirmed, log } = this.#options;
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes, 0);
    const failed = (error: unknown) => {
      metrics.relayed("failed", batches.length);
      const outboxIds = batches.map(({ outboxId }) => outboxId);
      log.warn({ event: "relay_failed", outboxIds, err: error });
    };
    try {
      const parts = batches.flatMap(({ deliveries }) => deliveries().map(deliveryPart));
      const confirmations = await this.#send(parts);
      const work = Promise.all(confirmations)
        .then(() => {
          metrics.relayed("confirmed", batches.length);
          for (const { outboxId } of batches) confirmed(outboxId);
        })
        .catch(failed)
        .finally(() => this.#count(-batches.length, -bytes));
      this.#track(work);
    } catch (error) {
      failed(error);
      this.#count(-batches.length, -bytes);
    }
  }

  /** Hands parts to the bus, one envelope an instance; returns the confirmations to come. */
  async #send(parts: readonly Part[]): Promise<Promise<void>[]> {
    const { bus, publishTimeoutMs, metrics } = this.#options;
    const byInstance = await this.#address(parts);
    const signal = AbortSignal.timeout(publishTimeoutMs);
    return [...byInstance].map(async ([instanceId, theirs]) => {
      try {
        // Unroutable: the instance is gone, and so are its sessions. They sync when they come back.
        metrics.published(await bus.publish(instanceId, envelopeOf(theirs), signal));
      } catch (error) {
        metrics.published("failed");
        throw error;
      }
    });
  }

  /**
   * The parts for each instance: by the registry, or for all instances known last when it cannot
   * say. Throws when none is known either: somebody may hear them.
   */
  async #address(parts: readonly Part[]): Promise<Map<string, Part[]>> {
    const { registry } = this.#options;
    const channels = [...new Set(parts.flatMap((part) => part.channels))];
    const byInstance = new Map<string, Part[]>();
    let hearing: readonly (readonly string[])[];
    try {
      hearing = await registry.locate(channels);
    } catch (error) {
      const all = await registry.instances("connect");
      if (all.length === 0) throw error;
      for (const { instanceId } of all) byInstance.set(instanceId, [...parts]);
      return byInstance;
    }
    const located = new Map(channels.map((channel, index) => [channel, hearing[index] ?? []]));
    for (const part of parts) {
      const instances = new Set(part.channels.flatMap((channel) => located.get(channel) ?? []));
      for (const instanceId of instances) {
        const theirs = byInstance.get(instanceId);
        if (theirs === undefined) byInstance.set(instanceId, [part]);
        else theirs.push(part);
      }
    }
    return byInstance;
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }

  #count(batches: number, bytes: number): void {
    this.#batches += batches;
    this.#bytes += bytes;
    this.#options.metrics.relayWaiting(this.#batches);
  }
}
