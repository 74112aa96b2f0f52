import { type Channel, type ChannelModel, type ConsumeMessage, connect } from "amqplib";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { endsWithin } from "#platform/waiting.ts";
import type { Bus, ConsumeOptions, Consumer, DeadLetter } from "./bus.ts";
import { Outbound } from "./outbound.ts";
import { QueueConsumer, type QueueConsumerOptions } from "./queue-consumer.ts";
import { createTopology, type Topology } from "./topology.ts";

export interface RabbitBusOptions {
  /** amqp://user:password@host:port */
  url: string;
  log: Log;
  /**
   * Replicate queues to a majority of the brokers. All users of a queue must set the same value.
   */
  quorum?: boolean;
  /** Name of the dead-letter exchange and of the dead-letter queue. */
  deadLetters?: string;
  /** Time-out of a closing consumer for the delivery in progress, milliseconds. */
  closeTimeoutMs?: number;
  /** Interval of declaring the dead letters, milliseconds: an operator may delete them. */
  declareIntervalMs?: number;
}

/**
 * Bodies are published to the default exchange, which routes to a queue by its name. It cannot be
 * deleted and needs no bindings.
 */
const DEFAULT_EXCHANGE = "";
/** A queue that does not exist. */
const NOWHERE = "lucky.nowhere";
const MAX_UNCONFIRMED = 2_000;
const MAX_WAITING = 10_000;
const HEARTBEAT_S = 10;
const CONNECT_TIMEOUT_MS = 5_000;
const DECLARE_INTERVAL_MS = 5_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 5_000;
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * A bus on RabbitMQ over two connections, one to publish and one to consume, which open and close
 * together. While the bus is open, it reconnects with back-off. Resolves after the first attempt to connect, also when that failed: an unreachable broker at the start is
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
  close(): Promise<void>;
  readonly outbound: Outbound;
  /** Carries the consumers: during an alarm the broker does not read from a publisher. */
  readonly consuming: ChannelModel;
}

class RabbitBus implements Bus {
  readonly system = "rabbitmq";
  readonly #url: string;
  readonly #log: Log;
  readonly #topology: Topology;
  readonly #deadLetters: string;
  readonly #closeTimeoutMs: number;
  readonly #declareIntervalMs: number;
  readonly #consumers = new Set<QueueConsumer<Channel, ConsumeMessage>>();
  #state: State = { kind: "connecting" };
  #attempts = 0;
  /** Whether the last declaration of the dead letters failed. */
  #deadLettersFailed = false;

  constructor({ url, log, quorum = false, deadLetters = "lucky.dead", ...rest }: RabbitBusOptions) {
    const withHeartbeat = new URL(url);
    withHeartbeat.searchParams.set("heartbeat", String(HEARTBEAT_S));
    this.#url = withHeartbeat.href;
    this.#log = log;
    this.#topology = createTopology({ deadLetters, quorum });
    this.#deadLetters = deadLetters;
    this.#closeTimeoutMs = rest.closeTimeoutMs ?? 5_000;
    this.#declareIntervalMs = rest.declareIntervalMs ?? DECLARE_INTERVAL_MS;
  }

  async publish(queue: string, body: Uint8Array, signal: AbortSignal) {
    return this.#openConnection().outbound.publish(queue, body, signal);
  }

  consume(
    queue: string,
    take: (body: Uint8Array) => Promise<void>,
    { lost }: ConsumeOptions = {},
  ): Promise<Consumer> {
    return this.#start({
      queue,
      take: ({ content }) => take(content),
      declare: (channel) => this.#topology.declareQueue(channel, queue),
      lost,
    });
  }

  consumeDeadLetters(take: (letter: DeadLetter) => Promise<void>): Promise<Consumer> {
    return this.#start({
      queue: this.#deadLetters,
      take: (message) => take(letterOf(message)),
      declare: (channel) => this.#topology.declareDeadLetters(channel),
    });
  }

  connected(): boolean {
    return this.#state.kind === "open";
  }

  ready(): boolean {
    return this.#state.kind === "open" && !this.#state.connection.outbound.blocked;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    // The bus may have reconnected while the consumers closed.
    const state = this.#state;
    this.#state = { kind: "closed" };
    if (state.kind === "connecting") clearTimeout(state.timer);
    if (state.kind !== "open") return;
    state.connection.outbound.break(new Error("the bus was closed"));
    await state.connection.close();
  }

  /** Connects once; logs a failure and schedules a retry. */
  async connect(): Promise<void> {
    try {
      const connection = await this.#open();
      if (this.#state.kind === "closed") return await connection.close();
      if (!connection.isOpen()) throw new Error("the broker closed the connection at once");
      this.#state = { kind: "open", connection };
      this.#attempts = 0;
      this.#log.info({ event: "bus_connected" });
      for (const consumer of this.#consumers) consumer.attach(connection.consuming);
    } catch (err) {
      if (this.#attempts === 0) this.#log.error({ event: "bus_unreachable", err });
      this.#retry();
    }
  }

  async #open(): Promise<OpenConnection> {
    const models: ChannelModel[] = [];
    let cause: unknown;
    let open = true;
    let connection: OpenConnection | undefined;
    let declaring: NodeJS.Timeout | undefined;
    const close = async () => {
      open = false;
      clearInterval(declaring);
      await Promise.all(models.map(closeConnection));
    };
    const dial = async () => {
      const model = await connect(this.#url, {
        timeout: CONNECT_TIMEOUT_MS,
        noDelay: true,
        keepAlive: true,
      });
      models.push(model);
      // The cause; the event "close" follows.
      model.on("error", (err) => {
        cause ??= err;
      });
      model.on("close", (err) => {
        if (!open) return;
        void close();
        if (connection) this.#lost(connection, cause ?? err);
      });
      return model;
    };
    try {
      const publishing = await dial();
      const consuming = await dial();
      const outbound = await this.#openOutbound(publishing, (err) => {
        cause ??= err;
      });
      const declare = () => this.#declareDeadLetters(consuming, () => open);
      await declare();
      // Race: a connection that closed during the declaration has stopped its timers already.
      if (open) declaring = setInterval(declare, this.#declareIntervalMs);
      connection = { isOpen: () => open, close, outbound, consuming };
      return connection;
    } catch (error) {
      void close();
      throw cause ?? error;
    }
  }

  /** Opens the channel of a connection that publishes. `failed` gets the cause of its end. */
  async #openOutbound(model: ChannelModel, failed: (err: unknown) => void): Promise<Outbound> {
    const channel = await model.createConfirmChannel();
    const outbound = new Outbound(channel, {
      exchange: DEFAULT_EXCHANGE,
      maxUnconfirmed: MAX_UNCONFIRMED,
      maxWaiting: MAX_WAITING,
    });
    channel.on("error", (err) => {
      failed(err);
      outbound.break(err);
    });
    // A connection without its channel is useless: close it, which causes a reconnect.
    channel.on("close", () => setImmediate(() => closeConnection(model)));
    channel.on("return", (message) => outbound.returned(message.properties.messageId));
    const blocked = this.#watchAlarms(model, outbound);
    // A broker that is blocked at once does not confirm.
    await Promise.race([checkPublishing(outbound), blocked]);
    return outbound;
  }

  /** Holds publishes back while the broker lacks memory or disk space. Resolves when it first does. */
  #watchAlarms(model: ChannelModel, outbound: Outbound): Promise<void> {
    return new Promise((resolve) => {
      model.on("blocked", (reason) => {
        this.#log.warn({ event: "bus_blocked", reason });
        outbound.block();
        resolve();
      });
      model.on("unblocked", () => {
        this.#log.info({ event: "bus_unblocked" });
        outbound.unblock();
      });
    });
  }

  /**
   * Declares the dead letters. The bus works without them, so a failure is only logged, once until
   * a later declaration succeeds.
   */
  async #declareDeadLetters(model: ChannelModel, isOpen: () => boolean): Promise<void> {
    const queue = this.#deadLetters;
    try {
      const channel = await model.createChannel();
      // The awaited calls below throw the same error.
      channel.on("error", () => {});
      await this.#topology.declareDeadLetters(channel);
      await channel.close();
      if (this.#deadLettersFailed) this.#log.info({ event: "dead_letter_queue_declared", queue });
      this.#deadLettersFailed = false;
    } catch (err) {
      if (!isOpen()) return;
      if (!this.#deadLettersFailed)
        this.#log.error({ event: "dead_letter_queue_failed", queue, err });
      this.#deadLettersFailed = true;
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
    options: Pick<
      QueueConsumerOptions<Channel, ConsumeMessage>,
      "queue" | "take" | "declare" | "lost"
    >,
  ): Promise<Consumer> {
    if (this.#state.kind === "closed") throw fail(ErrorReason.UNAVAILABLE, "the bus is closed");
    const consumer = new QueueConsumer<Channel, ConsumeMessage>({
      ...options,
      log: this.#log,
      closeTimeoutMs: this.#closeTimeoutMs,
      closed: () => this.#consumers.delete(consumer),
    });
    this.#consumers.add(consumer);
    if (this.#state.kind !== "open") return consumer;
    const { connection } = this.#state;
    const refusal = await consumer.attach(connection.consuming);
    if (refusal === undefined || !connection.isOpen()) return consumer;
    await consumer.close();
    throw new Error(`cannot consume deliveries from ${options.queue}`, { cause: refusal });
  }
}

function letterOf({ content, properties }: ConsumeMessage): DeadLetter {
  const death = properties.headers?.["x-death"]?.[0];
  return { queue: death?.queue ?? "", reason: death?.reason ?? "", body: content };
}

/**
 * Publishes to no queue: a user that may not publish is refused now, before the bus is ready.
 * Rejects with the cause.
 */
async function checkPublishing(outbound: Outbound): Promise<void> {
  await outbound.publish(NOWHERE, new Uint8Array(), AbortSignal.timeout(CONNECT_TIMEOUT_MS));
}

/** Closes a connection gracefully, with a time-out: a broker that hangs does not respond. */
async function closeConnection(model: ChannelModel): Promise<void> {
  // An already closed connection rejects; there is nothing left to do.
  await endsWithin(CLOSE_TIMEOUT_MS, (async () => model.close())()).catch(() => {});
}
