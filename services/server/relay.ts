import type { Bus } from "../../platform/bus/bus.ts";
import type { Log } from "../../platform/log.ts";
import type { Registry } from "../../platform/registry/registry.ts";
import {
  type Delivery,
  deliveryPart,
  envelopeOf,
  type Part,
  type Signal,
  signalPart,
} from "./envelopes.ts";
import type { Measures } from "./measures.ts";

export interface RelayOptions {
  readonly bus: Bus;
  readonly registry: Registry;
  readonly log: Log;
  readonly measures: Measures;
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

/** Carries what was committed to the instances that serve those who hear it. */
export class Relay {
  readonly #options: RelayOptions;
  /** The last batch of each lane: the next one is published after it. */
  readonly #turns = new Map<number, Promise<void>>();
  readonly #work = new Set<Promise<void>>();
  #batches = 0;
  #bytes = 0;
  #signals = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /**
   * Publishes a batch, after those offered before it under the same lane. Never throws, never
   * waits: what cannot be published now is in the outbox.
   */
  offer(lane: number, batch: RelayBatch): void {
    const { bus, maxBatches, maxBytes, measures } = this.#options;
    const full = this.#batches >= maxBatches || this.#bytes + batch.bytes > maxBytes;
    if (full || !bus.ready()) {
      measures.relayed("left");
      return;
    }
    this.#count(1, batch.bytes);
    const before = this.#turns.get(lane) ?? Promise.resolve();
    // The turn ends when everything was handed to the bus; confirmations come whenever they do.
    const turn = before.then(() => this.#begin(batch));
    this.#turns.set(lane, turn);
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
    const { bus, maxSignals, measures } = this.#options;
    if (signals.length === 0) return;
    if (this.#signals >= maxSignals || !bus.ready()) {
      measures.signals("dropped", signals.length);
      return;
    }
    this.#signals++;
    const work = this.#send(signals.map(signalPart))
      .then((confirmations) => Promise.all(confirmations))
      .then(
        () => measures.signals("published", signals.length),
        () => measures.signals("failed", signals.length),
      )
      .finally(() => {
        this.#signals--;
      });
    this.#track(work);
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#work.size > 0 || this.#batches > 0) {
      await Promise.all([...this.#turns.values(), ...this.#work]);
    }
  }

  /** Hands a batch to the bus; resolves before it is confirmed. Never rejects. */
  async #begin(batch: RelayBatch): Promise<void> {
    const { measures, confirmed, log } = this.#options;
    const failed = (error: unknown) => {
      measures.relayed("failed");
      log.warn({ event: "relay_failed", outboxId: batch.outboxId, err: error });
    };
    try {
      const confirmations = await this.#send(batch.deliveries().map(deliveryPart));
      const work = Promise.all(confirmations)
        .then(() => {
          measures.relayed("confirmed");
          confirmed(batch.outboxId);
        })
        .catch(failed)
        .finally(() => this.#count(-1, -batch.bytes));
      this.#track(work);
    } catch (error) {
      failed(error);
      this.#count(-1, -batch.bytes);
    }
  }

  /** Hands parts to the bus, one envelope an instance; returns the confirmations to come. */
  async #send(parts: readonly Part[]): Promise<Promise<void>[]> {
    const { bus, publishTimeoutMs, measures } = this.#options;
    const byInstance = await this.#address(parts);
    const signal = AbortSignal.timeout(publishTimeoutMs);
    return [...byInstance].map(async ([instanceId, theirs]) => {
      try {
        // Unroutable: the instance is gone, and so are its sessions. They sync when they come back.
        measures.published(await bus.publish(instanceId, envelopeOf(theirs), signal));
      } catch (error) {
        measures.published("failed");
        throw error;
      }
    });
  }

  /** The parts for each instance: by the registry, or for all instances when it cannot say. */
  async #address(parts: readonly Part[]): Promise<Map<string, Part[]>> {
    const { registry } = this.#options;
    const channels = [...new Set(parts.flatMap((part) => part.channels))];
    const byInstance = new Map<string, Part[]>();
    let hearing: readonly (readonly string[])[];
    try {
      hearing = await registry.locate(channels);
    } catch {
      const all = await registry.instances("connect");
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
    this.#options.measures.relayWaiting(this.#batches);
  }
}
