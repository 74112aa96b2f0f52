import type { Metrics } from "#platform/metrics.ts";

/** The outbox of one database. */
interface Pending {
  /** Batches in it. */
  readonly count: number;
  /** Age of the oldest batch that waits for its publication, seconds. */
  readonly seconds: number;
}

/** Metrics of the server. Label values come from closed sets. */
export class ServerMetrics {
  readonly #batchSize;
  readonly #appendSeconds;
  readonly #sends;
  readonly #retries;
  readonly #overloaded;
  readonly #outboxPending;
  readonly #outboxOldest;
  readonly #pending = new Map<number, Pending>();
  readonly #outboxFailed;
  readonly #relayBatches;
  readonly #publishes;
  readonly #relayWaiting;
  readonly #signals;
  readonly #undelivered;

  constructor(metrics: Metrics) {
    this.#batchSize = metrics.histogram(
      "lucky_append_batch_messages",
      "Messages in one append.",
      [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    );
    this.#appendSeconds = metrics.tracedHistogram(
      "lucky_append_seconds",
      "Duration of one append, from the start of the batch to its last answer.",
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15],
    );
    this.#sends = metrics.counter("lucky_append_sends_total", "Sends, by outcome.", ["outcome"]);
    this.#retries = metrics.counter(
      "lucky_append_retries_total",
      "Retries of an append batch, by cause.",
      ["cause"],
    );
    this.#overloaded = metrics.counter(
      "lucky_append_overloaded_total",
      "Sends refused because the append queue was full.",
    );
    this.#outboxPending = metrics.gauge(
      "lucky_outbox_pending",
      "Batches in the outboxes of all databases at the last polls of the compensation; 10,001 in one of them means more than 10,000.",
    );
    this.#outboxOldest = metrics.gauge(
      "lucky_outbox_oldest_seconds",
      "How long the oldest batch in the outboxes has waited for its publication since a poll found it.",
    );
    this.#outboxFailed = metrics.counter(
      "lucky_outbox_failed_total",
      "Batches abandoned after too many attempts; an operator can replay them.",
    );
    this.#relayBatches = metrics.counter(
      "lucky_relay_batches_total",
      "Committed batches, by outcome of their publication.",
      ["outcome"],
    );
    this.#publishes = metrics.counter(
      "lucky_relay_publishes_total",
      "Envelopes, by answer of the bus.",
      ["outcome"],
    );
    this.#relayWaiting = metrics.gauge(
      "lucky_relay_waiting",
      "Committed batches in flight to the bus.",
    );
    this.#signals = metrics.counter("lucky_relay_signals_total", "Signals, by outcome.", [
      "outcome",
    ]);
    this.#undelivered = metrics.counter(
      "lucky_undelivered_total",
      "Reports that a device did not acknowledge before its time-out.",
    );
  }

  appended(
    count: number,
    seconds: number,
    outcomes: Readonly<Record<"accepted" | "refused" | "failed", number>>,
    exemplar?: Record<string, string>,
  ): void {
    this.#batchSize.observe(count);
    this.#appendSeconds({}, seconds, exemplar);
    for (const [outcome, times] of Object.entries(outcomes)) {
      if (times > 0) this.#sends.inc({ outcome }, times);
    }
  }

  /** Sends refused before they were queued. */
  refused(count: number): void {
    this.#sends.inc({ outcome: "refused" }, count);
  }

  retried(cause: "members_changed" | "conflict" | "duplicate"): void {
    this.#retries.inc({ cause });
  }

  overloaded(): void {
    this.#overloaded.inc();
  }

  /** Recorded by database; the gauges are the sum of the counts and the highest age. */
  outboxPending(database: number, pending: Pending): void {
    this.#pending.set(database, pending);
    const all = [...this.#pending.values()];
    this.#outboxPending.set(all.reduce((sum, { count }) => sum + count, 0));
    this.#outboxOldest.set(Math.max(...all.map(({ seconds }) => seconds)));
  }

  outboxFailed(count: number): void {
    this.#outboxFailed.inc(count);
  }

  /**
   * confirmed: the bus has confirmed the batch for every instance concerned. outbox: the
   * compensation publishes it later.
   */
  relayed(outcome: "confirmed" | "failed" | "outbox", batches: number): void {
    this.#relayBatches.inc({ outcome }, batches);
  }

  published(outcome: "confirmed" | "unroutable" | "failed"): void {
    this.#publishes.inc({ outcome });
  }

  relayWaiting(count: number): void {
    this.#relayWaiting.set(count);
  }

  signals(outcome: "published" | "dropped" | "failed", count: number): void {
    if (count > 0) this.#signals.inc({ outcome }, count);
  }

  undelivered(count: number): void {
    this.#undelivered.inc(count);
  }
}
