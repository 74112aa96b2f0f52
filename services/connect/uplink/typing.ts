import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  SignalBatchRequestSchema,
  type TypingSignal,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Metrics } from "#platform/metrics.ts";

export interface TypingOptions {
  ingress: Pick<Client<typeof IngressService>, "signalBatch">;
  clock: Clock;
  metrics: Metrics;
  config: { readonly signalQueue: number; readonly callTimeoutMs: number };
}

const BATCH_LIMIT = maxItems(SignalBatchRequestSchema.field.signals);
const LINGER_MS = 20;

/** Passes typing signals on, joined for a moment. What does not get through is dropped. */
export class TypingSignals {
  readonly #signals: Coalescer<TypingSignal>;

  constructor({ ingress, clock, metrics, config }: TypingOptions) {
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
