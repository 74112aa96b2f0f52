import type { Client } from "@connectrpc/connect";
import {
  type Advance,
  AdvanceBatchRequestSchema,
  type IngressService,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { AcknowledgeRequestSchema, type Cursor } from "#gen/lucky/message/v1/message_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import type { Session } from "../socket/session.ts";

export interface AcknowledgementsOptions {
  ingress: Pick<Client<typeof IngressService>, "advanceBatch">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: {
    readonly acknowledgeLingerMs: number;
    readonly acknowledgeGroupLingerMs: number;
    readonly acknowledgeQueue: number;
    readonly callTimeoutMs: number;
  };
}

/** Maximum advances in one call. */
const BATCH_LIMIT = maxItems(AdvanceBatchRequestSchema.field.advances);
/** Maximum cursors in one frame. */
const CURSOR_LIMIT = maxItems(AcknowledgeRequestSchema.field.cursors);
/** Largest sequence: the contract has 64 bits, JavaScript counts exactly up to 2^53 - 1. */
const SEQUENCE_LIMIT = BigInt(Number.MAX_SAFE_INTEGER);
const ATTEMPTS = 3;

/**
 * Advances cursors. Acknowledgements of the same user and conversation are merged while they
 * linger; the furthest sequence wins. They are sent to server in batches. A failed batch is
 * retried, then dropped and counted. Cursors are cumulative, so the next acknowledgement repairs
 * the loss.
 */
export class Acknowledgements {
  readonly #advances: Coalescer<CursorAdvance>;
  readonly #groupLingerMs: number;

  constructor({ ingress, clock, log, metrics, config }: AcknowledgementsOptions) {
    const droppedCursors = metrics.counter(
      "lucky_acknowledgements_dropped_total",
      "Cursor advances dropped: the queue was full, or server could not be reached.",
    );
    this.#groupLingerMs = config.acknowledgeGroupLingerMs;
    this.#advances = new Coalescer({
      clock,
      batchCount: BATCH_LIMIT,
      lingerMs: config.acknowledgeLingerMs,
      queueCount: config.acknowledgeQueue,
      attempts: ATTEMPTS,
      call: (advances) =>
        ingress.advanceBatch(
          {
            $typeName: "lucky.internal.ingress.v1.AdvanceBatchRequest",
            advances: advances.map(advanceOf),
          },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped(count, error) {
        droppedCursors.inc(count);
        log.warn({ event: "acknowledgements_dropped", cursors: count, err: error });
      },
    });
  }

  get idle(): boolean {
    return this.#advances.idle;
  }

  /** Applies an Acknowledge frame of a device. Returns its protocol error, if there is one. */
  take(session: Session, userId: string, cursors: readonly Cursor[]): string | undefined {
    if (cursors.length === 0 || cursors.length > CURSOR_LIMIT) {
      return `cursors: 1 to ${CURSOR_LIMIT} are needed`;
    }
    for (const { conversationId, deliveredSequence, readSequence } of cursors) {
      if (conversationId.startsWith("-") || conversationId === "0") {
        return "conversation_id: must be greater than 0";
      }
      for (const sequence of [deliveredSequence, readSequence]) {
        if (sequence < 0n || sequence > SEQUENCE_LIMIT) return "a sequence is out of bounds";
      }
    }
    for (const cursor of cursors) {
      const { conversationId } = cursor;
      const deliveredSequence = Number(cursor.deliveredSequence);
      const readSequence = Number(cursor.readSequence);
      session.cursors.acknowledge(conversationId, Math.max(deliveredSequence, readSequence));
      // Delivered cursors of a group may linger longer, because no member is notified of
      // deliveries.
      const deferrable = readSequence === 0 && session.cursors.inGroup(conversationId);
      this.#advance(
        { userId, conversationId, deliveredSequence, readSequence, undeliveredSequence: 0 },
        deferrable,
      );
    }
    return undefined;
  }

  /** Reports that a device did not acknowledge entries up to a sequence in time. */
  undelivered(userId: string, conversationId: string, undeliveredSequence: number): void {
    this.#advance({
      userId,
      conversationId,
      deliveredSequence: 0,
      readSequence: 0,
      undeliveredSequence,
    });
  }

  /**
   * Flushes the queue and accepts no further cursors. Resolves when server has received them, or
   * cannot be reached.
   */
  close(): Promise<void> {
    return this.#advances.close();
  }

  #advance(advance: CursorAdvance, deferrable = false): void {
    this.#advances.put(
      `${advance.userId}:${advance.conversationId}`,
      (queued) => {
        if (queued === undefined) return advance;
        queued.deliveredSequence = Math.max(queued.deliveredSequence, advance.deliveredSequence);
        queued.readSequence = Math.max(queued.readSequence, advance.readSequence);
        queued.undeliveredSequence = Math.max(
          queued.undeliveredSequence,
          advance.undeliveredSequence,
        );
        return queued;
      },
      deferrable ? this.#groupLingerMs : undefined,
    );
  }
}

/** A user's cursors in a conversation. Sequences are numbers: logs stay far below 2^53. */
interface CursorAdvance {
  readonly userId: string;
  readonly conversationId: string;
  deliveredSequence: number;
  readSequence: number;
  undeliveredSequence: number;
}

function advanceOf({ userId, conversationId, ...sequences }: CursorAdvance): Advance {
  return {
    $typeName: "lucky.internal.ingress.v1.Advance",
    userId,
    cursor: {
      $typeName: "lucky.message.v1.Cursor",
      conversationId,
      deliveredSequence: BigInt(sequences.deliveredSequence),
      readSequence: BigInt(sequences.readSequence),
    },
    undeliveredSequence: BigInt(sequences.undeliveredSequence),
  };
}
