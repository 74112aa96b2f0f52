import { setTimeout as pause } from "node:timers/promises";
import { type Channel, type ChannelModel, type ConsumeMessage, connect } from "amqplib";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Bus, Consumer, DeadLetter } from "./bus.ts";
import { Outbound } from "./outbound.ts";
import { QueueConsumer } from "./queue-consumer.ts";

export interface RabbitBusOptions {
  /** amqp://user:password@host:port */
  url: string;
  log: Log;
  /**
   * Replicate queues to a majority of the brokers. All users of a queue must set the same value.
   */
  quorum?: boolean;
  /** Name of the exchange, and prefix of the name of the dead-letter exchange. */
  exchange?: string;
  /** Time-out of a closing consumer for the delivery in progress, milliseconds. */
  closeTimeoutMs?: number;
}

/** RabbitMQ deletes a queue after this time without a consumer: its instance did not restart. */
const QUEUE_EXPIRES_MS = 3_600_000;
/**
 * Maximum bytes of a queue; beyond it the oldest bodies are moved to the dead letters, and devices
 * get their entries by sync.
 */
const QUEUE_MAX_BYTES = 256 << 20;
const DEAD_LETTER_TTL_MS = 7 * 24 * 3_600_000;
const DEAD_LETTERS_MAX_BYTES = 64 << 20;
/** Maximum deliveries of an unacknowledged body by a quorum queue. */
const DELIVERY_LIMIT = 20;
const MAX_UNCONFIRMED = 2_000;
const MAX_WAITING = 10_000;
const HEARTBEAT_S = 10;
const CONNECT_TIMEOUT_MS = 5_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 5_000;
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * A bus on RabbitMQ over one connection. While the bus is open, it reconnects with back-off. Resolves
 * after the first attempt to connect, also when that failed: an unreachable broker at the start is
 * treated like one that becomes unreachable later. Throws when the URL is invalid.
 */
export async function createRabbitBus(options: RabbitBusOptions): Promise<Bus> {
  const bus = new RabbitBus(options);
  await bus.connect();
  return bus;
}

type State =
  | { readonly kind: "connecting"; readonly timer?: NodeJS.Timeout }
  | { readonly kind: "open"; readonly connection: OpenConnection }
  | { readonly kind: "closed" };

interface OpenConnection {
  isOpen(): boolean;
  readonly model: ChannelModel;
  readonly outbound: Outbound;
}

class RabbitBus implements Bus {
  readonly #url: string;
  readonly #log: Log;
  readonly #exchange: string;
  readonly #dead: string;
  readonly #queueType: Record<string, unknown>;
  readonly #closeTimeoutMs: number;
  readonly #consumers = new Set<QueueConsumer<Channel, ConsumeMessage>>();
  #state: State = { kind: "connecting" };
  #attempts = 0;

  constructor({ url, log, quorum = false, exchange = "lucky", ...rest }: RabbitBusOptions) {
    const withHeartbeat = new URL(url);
    withHeartbeat.searchParams.set("heartbeat", String(HEARTBEAT_S));
    this.#url = withHeartbeat.href;
    this.#log = log;
    this.#exchange = exchange;
    this.#dead = `${exchange}.dead`;
    this.#queueType = quorum
      ? { "x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT }
      : { "x-queue-type": "classic" };
    this.#closeTimeoutMs = rest.closeTimeoutMs ?? 5_000;
  }

  async publish(queue: string, body: Uint8Array, signal: AbortSignal) {
    return this.#openConnection().outbound.publish(queue, body, signal);
  }

  consume(queue: string, take: (body: Uint8Array) => Promise<void>): Promise<Consumer> {
    return this.#start(
      queue,
      ({ content }) => take(content),
      async (channel) => {
        await channel.assertQueue(queue, {
          durable: true,
          arguments: {
            ...this.#queueType,
            "x-dead-letter-exchange": this.#dead,
            "x-expires": QUEUE_EXPIRES_MS,
            "x-max-length-bytes": QUEUE_MAX_BYTES,
            "x-overflow": "drop-head",
          },
        });
        await channel.bindQueue(queue, this.#exchange, queue);
      },
    );
  }

  consumeDeadLetters(take: (letter: DeadLetter) => Promise<void>): Promise<Consumer> {
    return this.#start(this.#dead, (message) => take(letterOf(message)));
  }

  ready(): boolean {
    return this.#state.kind === "open";
  }

  async close(): Promise<void> {
    const state = this.#state;
    if (state.kind === "closed") return;
    if (state.kind === "connecting") clearTimeout(state.timer);
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    this.#state = { kind: "closed" };
    if (state.kind !== "open") return;
    state.connection.outbound.break(new Error("the bus was closed"));
    await closeConnection(state.connection.model);
  }

  /** Connects once; logs a failure and schedules a retry. */
  async connect(): Promise<void> {
    try {
      const connection = await this.#open();
      if (this.#state.kind === "closed") return await closeConnection(connection.model);
      if (!connection.isOpen()) throw new Error("the broker closed the connection at once");
      this.#state = { kind: "open", connection };
      this.#attempts = 0;
      this.#log.info({ event: "bus_connected" });
      for (const consumer of this.#consumers) consumer.attach(connection.model);
    } catch (err) {
      this.#log.error({ event: "bus_unreachable", attempts: this.#attempts, err });
      this.#retry();
    }
  }

  async #open(): Promise<OpenConnection> {
    const model = await connect(this.#url, {
      timeout: CONNECT_TIMEOUT_MS,
      noDelay: true,
      keepAlive: true,
    });
    let cause: unknown;
    let open = true;
    let connection: OpenConnection | undefined;
    // The cause; the event "close" follows.
    model.on("error", (err) => {
      cause = err;
    });
    model.on("close", (err) => {
      open = false;
      if (connection) this.#lost(connection, cause ?? err);
    });
    try {
      const channel = await model.createConfirmChannel();
      channel.on("error", (err) => {
        cause = err;
      });
      // A connection without its channel is useless: close it, which causes a reconnect.
      channel.on("close", () => setImmediate(() => open && closeConnection(model)));
      await channel.assertExchange(this.#exchange, "direct", { durable: true });
      await this.#declareDeadLetters(model);
      const outbound = new Outbound(channel, {
        exchange: this.#exchange,
        maxUnconfirmed: MAX_UNCONFIRMED,
        maxWaiting: MAX_WAITING,
      });
      channel.on("return", (message) => outbound.returned(message.properties.messageId));
      model.on("blocked", (reason) => {
        this.#log.warn({ event: "bus_blocked", reason });
        outbound.block();
      });
      model.on("unblocked", () => {
        this.#log.info({ event: "bus_unblocked" });
        outbound.unblock();
      });
      connection = { isOpen: () => open, model, outbound };
      return connection;
    } catch (error) {
      if (open) closeConnection(model);
      throw cause ?? error;
    }
  }

  /** Declares the dead-letter queue. The bus works without it, so a failure is only logged. */
  async #declareDeadLetters(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    // The awaited calls below throw the same error.
    channel.on("error", () => {});
    try {
      await channel.assertExchange(this.#dead, "fanout", { durable: true });
      await channel.assertQueue(this.#dead, {
        durable: true,
        arguments: {
          ...this.#queueType,
          "x-message-ttl": DEAD_LETTER_TTL_MS,
          "x-max-length-bytes": DEAD_LETTERS_MAX_BYTES,
          "x-overflow": "drop-head",
        },
      });
      await channel.bindQueue(this.#dead, this.#dead, "");
      await channel.close();
    } catch (err) {
      this.#log.error({ event: "dead_letter_queue_failed", queue: this.#dead, err });
    }
  }

  #lost(connection: OpenConnection, err: unknown): void {
    connection.outbound.break(err);
    if (this.#state.kind !== "open" || this.#state.connection !== connection) return;
    this.#log.error({ event: "bus_connection_lost", err });
    this.#retry();
  }

  #retry(): void {
    if (this.#state.kind === "closed") return;
    const delayMs = Math.min(RETRY_MIN_MS * 2 ** this.#attempts++, RETRY_MAX_MS);
    // Jitter, so that instances do not reconnect at the same time.
    const timer = setTimeout(() => this.connect(), delayMs * (0.5 + Math.random() / 2));
    this.#state = { kind: "connecting", timer };
  }

  #openConnection(): OpenConnection {
    if (this.#state.kind === "open") return this.#state.connection;
    throw fail(ErrorReason.UNAVAILABLE, "the broker cannot be reached");
  }

  async #start(
    queue: string,
    take: (message: ConsumeMessage) => Promise<void>,
    declare: (channel: Channel) => Promise<void> = async () => {},
  ): Promise<Consumer> {
    if (this.#state.kind === "closed") throw fail(ErrorReason.UNAVAILABLE, "the bus is closed");
    const consumer = new QueueConsumer<Channel, ConsumeMessage>({
      queue,
      take,
      declare,
      log: this.#log,
      closeTimeoutMs: this.#closeTimeoutMs,
      closed: () => this.#consumers.delete(consumer),
    });
    this.#consumers.add(consumer);
    if (this.#state.kind !== "open") return consumer;
    const { connection } = this.#state;
    const refusal = await consumer.attach(connection.model);
    if (refusal === undefined || !connection.isOpen()) return consumer;
    await consumer.close();
    throw new Error(`cannot consume deliveries from ${queue}`, { cause: refusal });
  }
}

function letterOf({ content, properties }: ConsumeMessage): DeadLetter {
  const death = properties.headers?.["x-death"]?.[0];
  return { queue: death?.queue ?? "", reason: death?.reason ?? "", body: content };
}

/** Closes a connection gracefully, with a time-out: a broker that hangs does not respond. */
async function closeConnection(model: ChannelModel): Promise<void> {
  const done = new AbortController();
  const timeout = pause(CLOSE_TIMEOUT_MS, undefined, { signal: done.signal });
  // An already closed connection rejects; there is nothing left to do.
  await Promise.race([model.close(), timeout]).catch(() => {});
  done.abort();
  await timeout.catch(() => {});
}
