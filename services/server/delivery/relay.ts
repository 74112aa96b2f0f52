import { FlushLoop } from "#platform/batching/flush-loop.ts";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { locateOrAll } from "#platform/registry/locate-or-all.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { batchSpan, type Span } from "#platform/tracing/traces.ts";
import type { ServerMetrics } from "../metrics.ts";
import {
  type Delivery,
  deliveryPart,
  envelopeOf,
  type Part,
  type Signal,
  signalPart,
} from "./envelopes.ts";
import type { Outbox } from "./outbox.ts";

export interface RelayOptions {
  readonly bus: Bus;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  readonly config: {
    readonly publishTimeoutMs: number;
    /** Maximum batches in flight; further batches are left to the outbox. */
    readonly relayBatches: number;
    /** Maximum bytes of batches in flight; further batches are left to the outbox. */
    readonly relayBytes: number;
    /** Maximum batches of signals in flight; further signals are dropped. */
    readonly relaySignals: number;
  };
}

/** The entries of one commit. */
export interface RelayBatch {
  readonly outboxId: string;
  /** `confirmed` is called when the bus has confirmed the batch for every instance concerned. */
  readonly outbox: Pick<Outbox, "confirmed">;
  /** Size of its entries. */
  readonly bytes: number;
  /** Spans of the calls that it came from; none when it is not traced. */
  readonly spans: readonly Span[];
  /**
   * Creates the deliveries. Called when the batch is published. They are encoded only for instances
   * that hear them.
   */
  readonly deliveries: () => readonly Delivery[];
}

/** Approximate maximum size of an envelope, bytes of entries; a single batch may be larger. */
const ENVELOPE_BYTES = 262_144;
/**
 * Interval of reading the list of instances, ms. The cached list is the fallback while the registry
 * is unreachable.
 */
const INSTANCES_INTERVAL_MS = 2_000;

/** Publishes committed entries and signals to the instances whose sessions hear them. */
export class Relay {
  readonly #options: RelayOptions;
  readonly #loop: FlushLoop;
  /** Batches that wait until earlier batches are passed to the bus. */
  #waiting: RelayBatch[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  #batches = 0;
  #bytes = 0;
  #signals = 0;
  #instancesTimer: Timer | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#loop = new FlushLoop({ clock: options.clock, flush: () => this.#flush() });
  }

  /** Reads the list of instances, now and at an interval. Never rejects. */
  async start(): Promise<void> {
    const { registry, clock } = this.#options;
    this.#instancesTimer = clock.every(
      INSTANCES_INTERVAL_MS,
      () => void registry.instances("connect"),
    );
    await registry.instances("connect");
  }

  /** Stops reading the list of instances; offered batches are still published. */
  stop(): void {
    this.#instancesTimer?.stop();
  }

  /**
   * Publishes a batch after the batches that were offered before it. Batches that are offered
   * before it is published share its envelopes, one per instance. Never throws, never waits: when
   * the relay is full, the bus is not ready or the publish fails, the compensation retries the
   * batch from the outbox.
   */
  offer(batch: RelayBatch): void {
    const { bus, config, metrics } = this.#options;
    const full =
      this.#batches >= config.relayBatches || this.#bytes + batch.bytes > config.relayBytes;
    if (full || !bus.ready()) {
      metrics.relayed("outbox", 1);
      return;
    }
    this.#countInFlight(1, batch.bytes);
    this.#waiting.push(batch);
    void this.#loop.flushNow();
  }

  /**
   * Publishes deliveries and waits for all confirmations. Throws when one is missing; then some
   * instances may have received the deliveries.
   */
  async publish(deliveries: readonly Delivery[]): Promise<void> {
    await Promise.all(await this.#send(deliveries.map(deliveryPart)));
  }

  /** Publishes signals without retries; failures are only counted. */
  signal(signals: readonly Signal[]): void {
    const { bus, config, metrics } = this.#options;
    if (signals.length === 0) return;
    if (this.#signals >= config.relaySignals || !bus.ready()) {
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

  /** Resolves when nothing is waiting or in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight.size > 0 || this.#batches > 0) {
      await Promise.all([this.#loop.flushNow(), ...this.#inFlight]);
    }
  }

  /**
   * Passes the waiting batches to the bus, in the order in which they were offered. Never rejects.
   */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) await this.#publishBatches(this.#nextBatches());
  }

  /** Takes the next waiting batches, at most one envelope of them. */
  #nextBatches(): RelayBatch[] {
    let bytes = 0;
    let count = 0;
    for (const batch of this.#waiting) {
      if (count > 0 && bytes + batch.bytes > ENVELOPE_BYTES) break;
      bytes += batch.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Passes batches to the bus; resolves before their confirmations. Never rejects. */
  async #publishBatches(batches: readonly RelayBatch[]): Promise<void> {
    const { metrics, log } = this.#options;
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes, 0);
    const failed = (error: unknown) => {
      metrics.relayed("failed", batches.length);
      const outboxIds = batches.map(({ outboxId }) => outboxId);
      log.warn({ event: "relay_failed", outboxIds, trace_id: span?.traceId, err: error });
      span?.end(error);
    };
    const span = this.#trace(batches);
    try {
      const parts = batches.flatMap(({ deliveries }) => deliveries().map(deliveryPart));
      const confirmations = await this.#send(parts, span);
      const work = Promise.all(confirmations)
        .then(() => {
          span?.end();
          metrics.relayed("confirmed", batches.length);
          for (const { outbox, outboxId } of batches) outbox.confirmed(outboxId);
        })
        .catch(failed)
        .finally(() => this.#countInFlight(-batches.length, -bytes));
      this.#track(work);
    } catch (error) {
      failed(error);
      this.#countInFlight(-batches.length, -bytes);
    }
  }

  /** Starts the span of a publication; undefined when none of its batches is traced. */
  #trace(batches: readonly RelayBatch[]): Span | undefined {
    const spans = batches.flatMap((batch) => batch.spans);
    if (spans.length === 0) return undefined;
    return batchSpan(spans, {
      name: "send connect",
      kind: "producer",
      attributes: {
        "messaging.system.name": this.#options.bus.system,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "connect",
        "lucky.batch.appends": batches.length,
      },
    });
  }

  /**
   * Passes parts to the bus, one envelope per instance, each with the context of the span; returns the
   * pending confirmations.
   */
  async #send(parts: readonly Part[], span?: Span): Promise<Promise<void>[]> {
    const { bus, config, metrics } = this.#options;
    const byInstance = await this.#partsByInstance(parts);
    const signal = AbortSignal.timeout(config.publishTimeoutMs);
    return [...byInstance].map(async ([instanceId, theirs]) => {
      try {
        // "unroutable": the instance has stopped and its sessions are closed. Their devices sync on
        // reconnect.
        metrics.published(await bus.publish(instanceId, envelopeOf(theirs, span), signal));
      } catch (error) {
        metrics.published("failed");
        throw error;
      }
    });
  }

  /** Groups the parts by the instances that hear them. */
  async #partsByInstance(parts: readonly Part[]): Promise<Map<string, Part[]>> {
    const channels = [...new Set(parts.flatMap((part) => part.channels))];
    const byInstance = new Map<string, Part[]>();
    const hearing = await locateOrAll(this.#options.registry, channels);
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
    this.#inFlight.add(work);
    work.finally(() => this.#inFlight.delete(work));
  }

  #countInFlight(batches: number, bytes: number): void {
    this.#batches += batches;
    this.#bytes += bytes;
    this.#options.metrics.relayWaiting(this.#batches);
  }
}
