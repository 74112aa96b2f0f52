import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  SignalBatchRequestSchema,
  type TypingSignal,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";

export interface TypingSignalsOptions {
  ingress: Pick<Client<typeof IngressService>, "signalBatch">;
  clock: Clock;
  metrics: Metrics;
  config: { readonly signalQueue: number; readonly callTimeoutMs: number };
}

/** Maximum signals in one call. */
const BATCH_LIMIT = maxItems(SignalBatchRequestSchema.field.signals);
const LINGER_MS = 20;

/**
 * Sends typing signals to server in batches; the latest signal of a user in a conversation wins.
 * Signals are dropped and counted when the queue is full or the call fails: there is no retry.
 */
export class TypingSignals {
  readonly #signals: Coalescer<TypingSignal>;

  constructor({ ingress, clock, metrics, config }: TypingSignalsOptions) {
    const droppedSignals = metrics.counter(
      "lucky_signals_dropped_total",
      "Typing signals dropped: the queue was full, or server could not be reached.",
    );
    this.#signals = new Coalescer({
      clock,
      batchCount: BATCH_LIMIT,
      lingerMs: LINGER_MS,
      queueCount: config.signalQueue,
      attempts: 1,
      call: (signals) =>
        ingress.signalBatch(
          { $typeName: "lucky.internal.ingress.v1.SignalBatchRequest", signals: [...signals] },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped: (count) => droppedSignals.inc(count),
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
