import type { Client } from "@connectrpc/connect";
import type { IngressService, TypingSignal } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import type { Metrics } from "#platform/metrics.ts";

export interface TypingSignalsOptions {
  ingress: Pick<Client<typeof IngressService>, "signalBatch">;
  clock: Clock;
  metrics: Metrics;
  config: { readonly signalQueue: number; readonly callTimeoutMs: number };
}

/** Bound of the contract. */
const BATCH_LIMIT = 2_000;
const LINGER_MS = 20;

/** Passes typing signals on, joined for a moment. What does not get through is dropped. */
export class TypingSignals {
  readonly #signals: Coalescer<TypingSignal>;

  constructor({ ingress, clock, metrics, config }: TypingSignalsOptions) {
    const lost = metrics.counter("lucky_signals_dropped_total", "Typing signals dropped.");
    this.#signals = new Coalescer({
      clock,
      limit: BATCH_LIMIT,
      lingerMs: LINGER_MS,
      queue: config.signalQueue,
      attempts: 1,
      call: (signals) =>
        ingress.signalBatch(
          { $typeName: "lucky.internal.ingress.v1.SignalBatchRequest", signals: [...signals] },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped: (count) => lost.inc(count),
    });
  }

  take(senderId: string, conversationId: string, typing: boolean): void {
    this.#signals.put(`${senderId}:${conversationId}`, () => ({
      $typeName: "lucky.internal.ingress.v1.TypingSignal",
      senderId,
      conversationId,
      typing,
    }));
  }

  close(): void {
    void this.#signals.close();
  }
}
