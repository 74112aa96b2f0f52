/** Result of a publish: the queue has stored the envelope, or there is no such queue. */
export type Published = "confirmed" | "unroutable";

/** One consumer of a queue. */
export interface Consumer {
  /**
   * Stops consuming and waits, with a time-out, for the delivery in progress. The queue stays.
   * Idempotent.
   */
  close(): Promise<void>;
}

export interface ConsumeOptions {
  /**
   * Called after the queue was found deleted and was declared again: bodies that it held, and those
   * that were published meanwhile, are lost.
   */
  readonly lost?: (() => void) | undefined;
}

/** A delivery that the bus moved to the dead letters. */
export interface DeadLetter {
  readonly queue: string;
  /** Why it was moved: "rejected", "expired", "maxlen" or "delivery_limit". */
  readonly reason: string;
  readonly body: Uint8Array;
}

/**
 * Carries envelopes to instances: one durable queue per instance, under a stable name. Delivery is
 * at least once: after a crash or a lost connection, a consumer may receive a duplicate. A queue
 * keeps the order of publishing as long as no envelope is lost in transit. Adapters: memory,
 * RabbitMQ.
 */
export interface Bus {
  /** Name of the messaging system in traces. */
  readonly system: "memory" | "rabbitmq";
  /**
   * Publishes a body persistently to a queue. Resolves when the broker has confirmed the body, or
   * has reported that there is no such queue. Rejects with UNAVAILABLE when the signal aborts or
   * the connection breaks before that; then the body may or may not have arrived. May reject at
   * once while the broker has not confirmed an aborted publish to the same queue. Calls may
   * overlap: bodies are written in the order of the calls.
   */
  publish(queue: string, body: Uint8Array, signal: AbortSignal): Promise<Published>;
  /**
   * Consumes a queue, one delivery at a time, in order; declares the queue as durable when it is
   * missing. A delivery is acknowledged when `take` resolves, and moved to the dead letters when it
   * rejects. After a lost connection the consumer reconnects and receives every delivery that was
   * not acknowledged. A queue that was deleted is declared again.
   */
  consume(
    queue: string,
    take: (body: Uint8Array) => Promise<void>,
    options?: ConsumeOptions,
  ): Promise<Consumer>;
  /** Consumes the dead letters. */
  consumeDeadLetters(take: (letter: DeadLetter) => Promise<void>): Promise<Consumer>;
  /** Whether there is a connection to the broker. */
  connected(): boolean;
  /** Whether the broker accepts publishes: it is connected, and has memory and disk space. */
  ready(): boolean;
  /** Closes all consumers and the connection. Idempotent. */
  close(): Promise<void>;
}
