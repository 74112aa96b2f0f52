import type { Log } from "#platform/log.ts";
import type { Consumer } from "./bus.ts";
import { type Delivery, Inbound } from "./inbound.ts";

/** The part of a broker channel that a consumer needs. */
export interface ConsumingChannel<M> {
  on(event: "error", listener: (err: Error) => void): unknown;
  on(event: "close", listener: () => void): unknown;
  prefetch(count: number): Promise<unknown>;
  consume(queue: string, deliver: (message: M | null) => void): Promise<unknown>;
  ack(message: M): void;
  nack(message: M, allUpTo: boolean, requeue: boolean): void;
  close(): Promise<void>;
}

/** The part of a broker connection that a consumer needs. */
export interface ConsumingConnection<C> {
  createChannel(): Promise<C>;
  once(event: "close", listener: () => void): unknown;
}

export interface QueueConsumerOptions<C, M> {
  readonly queue: string;
  readonly take: (message: M) => Promise<void>;
  /** Declares the queue if it is missing. */
  readonly declare: (channel: C) => Promise<void>;
  readonly log: Log;
  /** Time-out of `close` for the delivery in progress, milliseconds. */
  readonly closeTimeoutMs: number;
  readonly closed: () => void;
}

interface MessageDelivery<M> extends Delivery {
  readonly message: M;
}

/** Deliveries that the broker sends before it waits for an acknowledgement. */
const PREFETCH = 64;
const RETRY_MS = 1_000;

/** A consumer of one queue, with its own channel on the current connection. */
export class QueueConsumer<C extends ConsumingChannel<M>, M extends { content: Buffer }>
  implements Consumer
{
  readonly queue: string;
  readonly #options: QueueConsumerOptions<C, M>;
  readonly #inbound: Inbound<MessageDelivery<M>>;
  #channel: C | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: QueueConsumerOptions<C, M>) {
    this.queue = options.queue;
    this.#options = options;
    this.#inbound = new Inbound(({ message }) => options.take(message), options);
  }

  /**
   * Consumes over a connection and retries every second until the connection closes. Resolves after
   * the first attempt, with its error if it failed.
   */
  async attach(connection: ConsumingConnection<C>): Promise<unknown> {
    let connected = true;
    connection.once("close", () => {
      connected = false;
    });
    const attempt = async (): Promise<unknown> => {
      if (!connected || this.#closing) return undefined;
      try {
        await this.#consume(connection, retry);
        return undefined;
      } catch (err) {
        this.#options.log.error({ event: "consumer_not_started", queue: this.queue, err });
        retry();
        return err;
      }
    };
    const retry = () => {
      clearTimeout(this.#retryTimer);
      if (!this.#closing) this.#retryTimer = setTimeout(attempt, RETRY_MS);
    };
    return attempt();
  }

  async #consume(connection: ConsumingConnection<C>, retry: () => void): Promise<void> {
    const channel = await connection.createChannel();
    this.#channel = channel;
    let open = true;
    channel.on("error", (err) =>
      this.#options.log.error({ event: "consumer_lost", queue: this.queue, err }),
    );
    channel.on("close", () => {
      open = false;
      retry();
    });
    await this.#options.declare(channel);
    await channel.prefetch(PREFETCH);
    const isOpen = () => open;
    await channel.consume(this.queue, (message) => {
      // No message: the broker deleted the queue or moved it to another node.
      if (!message) return void channel.close().catch(() => {});
      this.#inbound.accept({
        message,
        isOpen,
        acknowledge: () => channel.ack(message),
        reject: () => channel.nack(message, false, false),
      });
    });
    // Race: `close` ran before the channel was open.
    if (this.#closing && open) await channel.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#retryTimer);
    await this.#inbound.close();
    // The broker returns unacknowledged deliveries to the queue.
    await this.#channel?.close().catch(() => {});
    this.#options.closed();
  }
}
