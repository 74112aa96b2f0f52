import type { Client } from "@connectrpc/connect";
import type { Advance, IngressService } from "../../gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { AcknowledgeRequest } from "../../gen/lucky/message/v1/message_pb.js";
import type { Clock } from "../../platform/clock.ts";
import type { Log } from "../../platform/log.ts";
import type { Metrics } from "../../platform/metrics.ts";
import { Coalescer } from "./coalesce.ts";
import type { Session } from "./session.ts";

export interface AcknowledgeOptions {
  ingress: Pick<Client<typeof IngressService>, "advanceBatch">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: {
    readonly acknowledgeLingerMs: number;
    readonly acknowledgeQueue: number;
    readonly callTimeoutMs: number;
  };
}

/** Bounds of the contract. */
const batchLimit = 2_000;
const cursorLimit = 200;
const attempts = 3;

/**
 * Moves cursors forward: what devices acknowledge is joined for a moment, the furthest wins, and
 * goes to server in batches. A batch that fails for good is dropped and counted; cursors are
 * cumulative, so the next one repairs it.
 */
export class Acknowledgements {
  readonly #advances: Coalescer<Advance>;

  constructor({ ingress, clock, log, metrics, config }: AcknowledgeOptions) {
    const lost = metrics.counter(
      "lucky_acknowledgements_dropped_total",
      "Cursors that could not be brought to server.",
    );
    this.#advances = new Coalescer({
      clock,
      limit: batchLimit,
      lingerMs: config.acknowledgeLingerMs,
      queue: config.acknowledgeQueue,
      attempts,
      call: (advances) =>
        ingress.advanceBatch(
          {
            $typeName: "lucky.internal.ingress.v1.AdvanceBatchRequest",
            advances: [...advances],
          },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped(count, error) {
        lost.inc(count);
        log.warn({ event: "acknowledgements_dropped", cursors: count, err: error });
      },
    });
  }

  get idle(): boolean {
    return this.#advances.idle;
  }

  /** Takes what a device acknowledged. Returns what is wrong with it, if anything is. */
  take(session: Session, userId: string, { cursors }: AcknowledgeRequest): string | undefined {
    if (cursors.length === 0 || cursors.length > cursorLimit) {
      return `cursors: 1 to ${cursorLimit} are needed`;
    }
    for (const { conversationId, deliveredSequence, readSequence } of cursors) {
      if (conversationId.startsWith("-") || conversationId === "0") {
        return "conversation_id: must be greater than 0";
      }
      if (deliveredSequence < 0n || readSequence < 0n) return "a sequence must not be negative";
    }
    for (const { conversationId, deliveredSequence, readSequence } of cursors) {
      const furthest = Math.max(Number(deliveredSequence), Number(readSequence));
      session.cursors.acknowledge(conversationId, furthest);
      this.#advance({ userId, conversationId, deliveredSequence, readSequence });
    }
    return undefined;
  }

  /** Tells that a device did not acknowledge entries up to a sequence in time. */
  undelivered(userId: string, conversationId: string, undeliveredSequence: number): void {
    this.#advance({
      userId,
      conversationId,
      deliveredSequence: 0n,
      readSequence: 0n,
      undeliveredSequence: BigInt(undeliveredSequence),
    });
  }

  /** Sends what waits and takes nothing more. Resolves when server has it, or cannot be reached. */
  close(): Promise<void> {
    return this.#advances.close();
  }

  #advance(news: {
    userId: string;
    conversationId: string;
    deliveredSequence: bigint;
    readSequence: bigint;
    undeliveredSequence?: bigint;
  }): void {
    const { userId, conversationId, undeliveredSequence = 0n } = news;
    this.#advances.put(`${userId}:${conversationId}`, (known) => ({
      $typeName: "lucky.internal.ingress.v1.Advance",
      userId,
      cursor: {
        $typeName: "lucky.message.v1.Cursor",
        conversationId,
        deliveredSequence: larger(known?.cursor?.deliveredSequence, news.deliveredSequence),
        readSequence: larger(known?.cursor?.readSequence, news.readSequence),
      },
      undeliveredSequence: larger(known?.undeliveredSequence, undeliveredSequence),
    }));
  }
}

function larger(known: bigint | undefined, news: bigint): bigint {
  return known !== undefined && known > news ? known : news;
}
