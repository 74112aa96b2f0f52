import type { Client } from "@connectrpc/connect";
import {
  type Advance,
  AdvanceBatchRequestSchema,
  type IngressService,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { AcknowledgeRequestSchema, type Cursor } from "#gen/lucky/message/v1/message_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Session } from "../socket/session.ts";

export interface AcknowledgeOptions {
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

const BATCH_LIMIT = maxItems(AdvanceBatchRequestSchema.field.advances);
const CURSOR_LIMIT = maxItems(AcknowledgeRequestSchema.field.cursors);
const SEQUENCE_LIMIT = BigInt(Number.MAX_SAFE_INTEGER);
const ATTEMPTS = 3;
/**
 * Moves cursors forward: what devices acknowledge is joined for a moment, the furthest wins, and
 * goes to server in batches. A batch that fails for good is dropped and counted; cursors are
 * cumulative, so the next one repairs it.
 */
export class Acknowledgements {
  readonly #advances: Coalescer<Moved>;
  readonly #patientMs: number;

  constructor({ ingress, clock, log, metrics, config }: AcknowledgeOptions) {
    const lost = metrics.counter(
      "lucky_acknowledgements_dropped_total",
      "Cursors that could not be brought to server.",
    );
    this.#patientMs = config.acknowledgeGroupLingerMs;
    this.#advances = new Coalescer({
      clock,
      limit: BATCH_LIMIT,
      lingerMs: config.acknowledgeLingerMs,
      queue: config.acknowledgeQueue,
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
        lost.inc(count);
        log.warn({ event: "acknowledgements_dropped", cursors: count, err: error });
      },
    });
  }

  get idle(): boolean {
    return this.#advances.idle;
  }

  /** Takes what a device acknowledged. Returns what is wrong with it, if anything is. */
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
      const patient = readSequence === 0 && session.cursors.inGroup(conversationId);
      this.#advance(
        { userId, conversationId, deliveredSequence, readSequence, undeliveredSequence: 0 },
        patient,
      );
    }
    return undefined;
  }

  /** Tells that a device did not acknowledge entries up to a sequence in time. */
  undelivered(userId: string, conversationId: string, undeliveredSequence: number): void {
    this.#advance({
      userId,
      conversationId,
      deliveredSequence: 0,
      readSequence: 0,
      undeliveredSequence,
    });
  }

  /** Sends what waits and takes nothing more. Resolves when server has it, or cannot be reached. */
  close(): Promise<void> {
    return this.#advances.close();
  }

  #advance(news: Moved, patient = false): void {
    this.#advances.put(
      `${news.userId}:${news.conversationId}`,
      (known) => {
        if (known === undefined) return news;
        known.deliveredSequence = Math.max(known.deliveredSequence, news.deliveredSequence);
        known.readSequence = Math.max(known.readSequence, news.readSequence);
        known.undeliveredSequence = Math.max(known.undeliveredSequence, news.undeliveredSequence);
        return known;
      },
      patient ? this.#patientMs : undefined,
    );
  }
}

/** How far a user came in a conversation. Sequences as numbers: logs stay far below 2^53. */
interface Moved {
  readonly userId: string;
  readonly conversationId: string;
  deliveredSequence: number;
  readSequence: number;
  undeliveredSequence: number;
}

function advanceOf({ userId, conversationId, ...moved }: Moved): Advance {
  return {
    $typeName: "lucky.internal.ingress.v1.Advance",
    userId,
    cursor: {
      $typeName: "lucky.message.v1.Cursor",
      conversationId,
      deliveredSequence: BigInt(moved.deliveredSequence),
      readSequence: BigInt(moved.readSequence),
    },
    undeliveredSequence: BigInt(moved.undeliveredSequence),
  };
}
