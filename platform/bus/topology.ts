/** The part of a broker channel that declares. */
export interface DeclaringChannel {
  assertExchange(exchange: string, type: string, options: { durable: boolean }): Promise<unknown>;
  assertQueue(
    queue: string,
    options: { durable: boolean; arguments: Record<string, unknown> },
  ): Promise<unknown>;
  bindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>;
}

export interface TopologyOptions {
  /** Name of the dead-letter exchange and of the dead-letter queue. */
  readonly deadLetters: string;
  /** Whether queues are replicated to a majority of the brokers. */
  readonly quorum: boolean;
}

/** Declares the queues of the bus. Declaring what exists changes nothing. */
export interface Topology {
  /** The queue of an instance. The default exchange routes to it by its name. */
  declareQueue(channel: DeclaringChannel, queue: string): Promise<void>;
  /** The dead-letter exchange, the dead-letter queue and their binding. */
  declareDeadLetters(channel: DeclaringChannel): Promise<void>;
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

export function createTopology({ deadLetters, quorum }: TopologyOptions): Topology {
  const queueType = quorum
    ? { "x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT }
    : { "x-queue-type": "classic" };
  return {
    async declareQueue(channel, queue) {
      await channel.assertQueue(queue, {
        durable: true,
        arguments: {
          ...queueType,
          "x-dead-letter-exchange": deadLetters,
          "x-expires": QUEUE_EXPIRES_MS,
          "x-max-length-bytes": QUEUE_MAX_BYTES,
          "x-overflow": "drop-head",
        },
      });
    },
    async declareDeadLetters(channel) {
      await channel.assertExchange(deadLetters, "fanout", { durable: true });
      await channel.assertQueue(deadLetters, {
        durable: true,
        arguments: {
          ...queueType,
          "x-message-ttl": DEAD_LETTER_TTL_MS,
          "x-max-length-bytes": DEAD_LETTERS_MAX_BYTES,
          "x-overflow": "drop-head",
        },
      });
      await channel.bindQueue(deadLetters, deadLetters, "");
    },
  };
}
