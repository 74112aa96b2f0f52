import type { Metrics } from "#platform/metrics.ts";

/** What the server counts. Label values come from closed sets. */
export class ServerMetrics {
  readonly #batchSize;
  readonly #appendSeconds;
  readonly #sends;
  readonly #rounds;
  readonly #overloaded;
  readonly #outboxPending;
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
    this.#appendSeconds = metrics.histogram(
      "lucky_append_seconds",
      "From taking a batch to its last answer.",
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15],
    );
    this.#sends = metrics.counter("lucky_append_sends_total", "Sends by what became of them.", [
      "outcome",
    ]);
    this.#rounds = metrics.counter(
      "lucky_append_rounds_total",
      "Batches that went round again, by cause.",
      ["cause"],
    );
    this.#overloaded = metrics.counter(
      "lucky_append_overloaded_total",
      "Sends refused because too much waited.",
    );
    this.#outboxPending = metrics.gauge(
      "lucky_outbox_pending",
      "Batches in the outbox at the last look of the compensation, 10,001 for more.",
    );
    this.#outboxFailed = metrics.counter(
      "lucky_outbox_failed_total",
      "Batches given up after too many attempts: they wait for an operator.",
    );
    this.#relayBatches = metrics.counter(
      "lucky_relay_batches_total",
      "Committed batches by what became of them on their way to the bus.",
      ["outcome"],
    );
    this.#publishes = metrics.counter(
      "lucky_relay_publishes_total",
      "Envelopes by what the bus said.",
      ["outcome"],
    );
    this.#relayWaiting = metrics.gauge(
      "lucky_relay_waiting",
      "Committed batches on their way to the bus.",
    );
    this.#signals = metrics.counter(
      "lucky_relay_signals_total",
      "Signals by what became of them.",
      ["outcome"],
    );
    this.#undelivered = metrics.counter(
      "lucky_undelivered_total",
      "Reports of devices that did not acknowledge in time.",
    );
  }

  appended(
    count: number,
    seconds: number,
    outcomes: Readonly<Record<"accepted" | "refused" | "failed", number>>,
  ): void {
    this.#batchSize.observe(count);
    this.#appendSeconds.observe(seconds);
    for (const [outcome, times] of Object.entries(outcomes)) {
      if (times > 0) this.#sends.inc({ outcome }, times);
    }
  }

  /** Sends that never came to a lane. */
  refused(count: number): void {
    this.#sends.inc({ outcome: "refused" }, count);
  }

  roundAgain(cause: "members_changed" | "conflict" | "repeated"): void {
    this.#rounds.inc({ cause });
  }

  overloaded(): void {
    this.#overloaded.inc();
  }

  outboxPending(count: number): void {
    this.#outboxPending.set(count);
  }

  outboxFailed(count: number): void {
    this.#outboxFailed.inc(count);
  }

  /** Confirmed: by every instance concerned. Left: to the compensation. */
  relayed(outcome: "confirmed" | "failed" | "left", batches: number): void {
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
