import type { Log } from "#platform/log.ts";
import type { Consumer } from "./bus.ts";
import { type Delivery, Inbound } from "./inbound.ts";

/** What of a channel of the broker is needed to consume. */
export interface ConsumingChannel<M> {
  on(event: "error", listener: (err: Error) => void): unknown;
  on(event: "close", listener: () => void): unknown;
  prefetch(count: number): Promise<unknown>;
  consume(queue: string, deliver: (message: M | null) => void): Promise<unknown>;
  ack(message: M): void;
  nack(message: M, allUpTo: boolean, requeue: boolean): void;
  close(): Promise<void>;
}

/** What of a connection to the broker is needed to consume. */
export interface ConsumingConnection<C> {
  createChannel(): Promise<C>;
  once(event: "close", listener: () => void): unknown;
}

export interface QueueConsumerOptions<C, M> {
  readonly queue: string;
  readonly take: (message: M) => Promise<void>;
  /** Makes what is consumed from, if it is missing. */
  readonly declare: (channel: C) => Promise<void>;
  readonly log: Log;
  /** How long closing waits for the delivery in work, milliseconds. */
  readonly closeWaitMs: number;
  readonly closed: () => void;
}

interface Lent<M> extends Delivery {
  readonly message: M;
}

/** What the broker lends at a time. */
const PREFETCH = 64;
const RETRY_MS = 1_000;

/** A consumer of one queue, with a channel of its own on whatever connection there is. */
export class QueueConsumer<C extends ConsumingChannel<M>, M extends { content: Buffer }>
  implements Consumer
{
  readonly queue: string;
  readonly #options: QueueConsumerOptions<C, M>;
  readonly #inbound: Inbound<Lent<M>>;
  #channel: C | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: QueueConsumerOptions<C, M>) {
    this.queue = options.queue;
    this.#options = options;
    this.#inbound = new Inbound(({ message }) => options.take(message), options);
  }

  /**
   * Takes deliveries from a connection, again and again for as long as it lasts. Resolves after the
   * first attempt, with the error if it failed.
   */
  async attach(connection: ConsumingConnection<C>): Promise<unknown> {
    let connected = true;
    connection.once("close", () => {
      connected = false;
    });
    const attempt = async (): Promise<unknown> => {
      if (!connected || this.#closing) return undefined;
      try {
        await this.#consume(connection, again);
        return undefined;
      } catch (err) {
        this.#options.log.error({ event: "consumer_not_started", queue: this.queue, err });
        again();
        return err;
      }
    };
    const again = () => {
      clearTimeout(this.#retry);
      if (!this.#closing) this.#retry = setTimeout(attempt, RETRY_MS);
    };
    return attempt();
  }

  async #consume(connection: ConsumingConnection<C>, again: () => void): Promise<void> {
    const channel = await connection.createChannel();
    this.#channel = channel;
    let open = true;
    channel.on("error", (err) =>
      this.#options.log.error({ event: "consumer_lost", queue: this.queue, err }),
    );
    channel.on("close", () => {
      open = false;
      again();
    });
    await this.#options.declare(channel);
    await channel.prefetch(PREFETCH);
    const isOpen = () => open;
    await channel.consume(this.queue, (message) => {
      // The broker removed the queue, or moved it.
      if (!message) return void channel.close().catch(() => {});
      this.#inbound.accept({
        message,
        isOpen,
        acknowledge: () => channel.ack(message),
        reject: () => channel.nack(message, false, false),
      });
    });
    // Closed meanwhile, when there was nothing to close yet.
    if (this.#closing && open) await channel.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#retry);
    await this.#inbound.close();
    // What was lent and not acknowledged goes back to its queue.
    await this.#channel?.close().catch(() => {});
    this.#options.closed();
  }
}
