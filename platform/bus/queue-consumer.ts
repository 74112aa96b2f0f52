import type { Log } from "#platform/log.ts";
import { endsWithin } from "#platform/waiting.ts";
import type { Consumer } from "./bus.ts";
import { type Delivery, Inbound } from "./inbound.ts";

/** The part of a broker channel that a consumer needs. */
export interface ConsumingChannel<M> {
  on(event: "error", listener: (err: Error) => void): unknown;
  on(event: "close", listener: () => void): unknown;
  checkQueue(queue: string): Promise<unknown>;
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
  /** Called after the queue was found deleted and was declared again. */
  readonly lost?: (() => void) | undefined;
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
/** Time-out of closing the channel: a broker that hangs does not respond. */
const CLOSE_TIMEOUT_MS = 1_000;
/** Back-off after the broker cancelled the consumer: bodies without a queue are lost. */
const CANCELLED_RETRY_MS = 20;
/** Reply code of the broker for a queue that does not exist. */
const NOT_FOUND = 404;

/** A consumer of one queue, with its own channel on the current connection. */
export class QueueConsumer<C extends ConsumingChannel<M>, M extends { content: Buffer }>
  implements Consumer
{
  readonly queue: string;
  readonly #options: QueueConsumerOptions<C, M>;
  readonly #inbound: Inbound<MessageDelivery<M>>;
  #channel: C | undefined;
  /** Whether the queue was declared before. */
  #declared = false;
  /** Whether the queue was found deleted, and that is not reported yet. */
  #lost = false;
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
    const retry = (afterMs = RETRY_MS) => {
      clearTimeout(this.#retryTimer);
      if (!this.#closing) this.#retryTimer = setTimeout(attempt, afterMs);
    };
    return attempt();
  }

  async #consume(
    connection: ConsumingConnection<C>,
    retry: (afterMs?: number) => void,
  ): Promise<void> {
    if (this.#declared && !(await queueExists(connection, this.queue))) this.#lost = true;
    const channel = await connection.createChannel();
    this.#channel = channel;
    let open = true;
    let cancelled = false;
    channel.on("error", (err) =>
      this.#options.log.error({ event: "consumer_lost", queue: this.queue, err }),
    );
    channel.on("close", () => {
      open = false;
      retry(cancelled ? CANCELLED_RETRY_MS : RETRY_MS);
    });
    await this.#options.declare(channel);
    this.#declared = true;
    await channel.prefetch(PREFETCH);
    const isOpen = () => open;
    const settle = (send: () => void) => {
      try {
        send();
      } catch {
        // The connection is closing: the broker redelivers this delivery and those after it.
        open = false;
      }
    };
    await channel.consume(this.queue, (message) => {
      if (!message) {
        // The broker deleted the queue or moved it to another node.
        cancelled = true;
        channel.close().catch(() => {});
        return;
      }
      this.#inbound.accept({
        message,
        isOpen,
        acknowledge: () => settle(() => channel.ack(message)),
        reject: () => settle(() => channel.nack(message, false, false)),
      });
    });
    if (this.#lost) {
      this.#lost = false;
      this.#options.log.error({ event: "queue_deleted", queue: this.queue });
      this.#options.lost?.();
    }
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
    // The broker returns unacknowledged deliveries to the queue, also when it does not answer now.
    const closed = this.#channel?.close().catch(() => {});
    if (closed !== undefined) await endsWithin(CLOSE_TIMEOUT_MS, closed);
    this.#options.closed();
  }
}

/** Whether a queue exists. The check of a missing queue closes its channel, so it has its own. */
async function queueExists<M, C extends ConsumingChannel<M>>(
  connection: ConsumingConnection<C>,
  queue: string,
): Promise<boolean> {
  const channel = await connection.createChannel();
  // The awaited calls below throw the same error.
  channel.on("error", () => {});
  try {
    await channel.checkQueue(queue);
  } catch (err) {
    if ((err as { code?: number }).code === NOT_FOUND) return false;
    throw err;
  }
  await channel.close();
  return true;
}
