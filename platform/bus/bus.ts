/** What became of a published envelope: taken by the queue, or there is no such queue. */
export type Published = "confirmed" | "unroutable";

/** One consumer of a queue. */
export interface Consumer {
  /** Stops taking deliveries and waits, bounded, for those in work. The queue stays. Idempotent. */
  close(): Promise<void>;
}

/** Why a delivery ended up in the dead letters. */
export interface DeadLetter {
  readonly queue: string;
  /** "rejected", "expired", "maxlen" or "delivery_limit". */
  readonly reason: string;
  readonly body: Uint8Array;
}

/**
 * Carries envelopes to instances: a durable queue per instance under a stable name. At least once:
 * a consumer may see a body twice, after a crash or a lost connection. Order within a queue is the
 * order of publishing as long as nothing is lost on the way. Adapters: memory, RabbitMQ.
 */
export interface Bus {
  /**
   * Publishes a body to a queue, persistently. Resolves when the broker has confirmed it, or said
   * that there is no such queue. Rejects with UNAVAILABLE when neither came before the signal
   * aborted or the connection broke; then it may or may not have arrived. May reject at once when an
   * aborted publish to the same queue is still not confirmed. Calls may overlap: they are written in
   * the order of the calls.
   */
  publish(queue: string, body: Uint8Array, signal: AbortSignal): Promise<Published>;
  /**
   * Takes deliveries from a queue, made durable if it is missing, one after the other in order. A
   * delivery is acknowledged when `take` resolves, put into the dead letters when it rejects.
   * Survives the loss of the connection: it comes back by itself, with what was not acknowledged.
   */
  consume(queue: string, take: (body: Uint8Array) => Promise<void>): Promise<Consumer>;
  /** Takes what ended up in the dead letters. */
  consumeDeadLetters(take: (letter: DeadLetter) => Promise<void>): Promise<Consumer>;
  /** Whether the broker can be reached right now. */
  ready(): boolean;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}
