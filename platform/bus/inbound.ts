import { setTimeout as pause } from "node:timers/promises";
import type { Log } from "#platform/log.ts";

/** Something that the broker lent us, to be taken or rejected. */
export interface Delivery {
  /** Whether the broker still waits for its end; when not, it will deliver it again. */
  isOpen(): boolean;
  acknowledge(): void;
  /** Into the dead letters with it. */
  reject(): void;
}

export interface InboundOptions {
  readonly queue: string;
  readonly log: Log;
  /** How long closing waits for the delivery in work, milliseconds. */
  readonly closeWaitMs: number;
}

/**
 * The deliveries of one consumer, taken one after the other, also across connections: what a new
 * connection brings waits for the delivery in work. Bounded by what the broker lends at a time.
 */
export class Inbound<T extends Delivery> {
  readonly #options: InboundOptions;
  readonly #take: (delivery: T) => Promise<void>;
  #last: Promise<void> = Promise.resolve();
  #closing = false;

  constructor(take: (delivery: T) => Promise<void>, options: InboundOptions) {
    this.#take = take;
    this.#options = options;
  }

  accept(delivery: T): void {
    this.#last = this.#last.then(() => this.#work(delivery));
  }

  /** Takes no more, and waits, bounded, for the delivery in work. */
  async close(): Promise<void> {
    this.#closing = true;
    const over = new AbortController();
    const late = pause(this.#options.closeWaitMs, undefined, { signal: over.signal });
    await Promise.race([this.#last, late.catch(() => {})]);
    over.abort();
  }

  async #work(delivery: T): Promise<void> {
    if (this.#closing || !delivery.isOpen()) return;
    try {
      await this.#take(delivery);
    } catch (err) {
      const { queue, log } = this.#options;
      log.warn({ event: "delivery_rejected", queue, err });
      if (delivery.isOpen()) delivery.reject();
      return;
    }
    if (delivery.isOpen()) delivery.acknowledge();
  }
}
