import type { Log } from "#platform/log.ts";
import { endsWithin } from "#platform/waiting.ts";

/** A delivery of the broker, to be acknowledged or rejected. */
export interface Delivery {
  /** Whether the broker still expects the result; otherwise it will redeliver. */
  isOpen(): boolean;
  acknowledge(): void;
  /** Moves the delivery to the dead letters. */
  reject(): void;
}

export interface InboundOptions {
  readonly queue: string;
  readonly log: Log;
  /** Time-out of `close` for the delivery in progress, milliseconds. */
  readonly closeTimeoutMs: number;
}

/**
 * Processes the deliveries of one consumer one at a time, also across connections: deliveries of a
 * new connection wait for the delivery in progress. The prefetch count of the broker bounds the
 * queue.
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
    this.#last = this.#last.then(() => this.#process(delivery));
  }

  /** Stops processing and waits, with a time-out, for the delivery in progress. */
  async close(): Promise<void> {
    this.#closing = true;
    await endsWithin(this.#options.closeTimeoutMs, this.#last);
  }

  async #process(delivery: T): Promise<void> {
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
