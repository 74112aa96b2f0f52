import { type Client, Code, ConnectError } from "@connectrpc/connect";
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
import { CursorRetries } from "./cursor-retries.ts";
import { DeferredCursors } from "./deferred-cursors.ts";

export interface AcknowledgementsOptions {
  ingress: Pick<Client<typeof IngressService>, "advanceBatch">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: {
    readonly acknowledgeLingerMs: number;
    readonly acknowledgeGroupLingerMs: number;
    readonly acknowledgeGroupQueue: number;
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
/**
 * Attempts of a batch, while later cursors wait: about a minute and a half. Then its cursors are retried
 * beside the others. A lost read cursor would show read messages as unread until the user reads the
 * next one.
 */
const ATTEMPTS = 30;
/** Parts of an advance that moves no cursor and has not failed. */
const NOTHING = {
  deliveredSequence: 0,
  readSequence: 0,
  undeliveredSequence: 0,
  epoch: 0n,
  failures: 0,
};

/**
 * Advances cursors. Acknowledgements of the same user, conversation and epoch are merged while they
 * linger; the furthest sequence wins. They are sent to server in batches. A batch that server cannot
 * take now is retried with growing back-off. A cursor whose database fails, or whose batch has failed
 * too often, is retried beside the others for about an hour, then dropped and counted; a cursor that
 * server refuses is dropped alone. Cursors are cumulative, so the next acknowledgement repairs the loss.
 *
 * Nobody is notified of deliveries in a group, so its delivered cursors are held per user, and
 * stored at most once in `acknowledgeGroupLingerMs`. They are stored earlier together with a read
 * cursor of the same user and group, when the user's last session on this instance ends, and when
 * the instance stops. A crash loses the held cursors: devices acknowledge again after a sync.
 */
export class Acknowledgements {
  readonly #advances: Coalescer<CursorAdvance>;
  readonly #deferred: DeferredCursors;
  readonly #retries: CursorRetries<CursorAdvance>;

  constructor({ ingress, clock, log, metrics, config }: AcknowledgementsOptions) {
    const droppedCursors = metrics.counter(
      "lucky_acknowledgements_dropped_total",
      "Cursor advances dropped: the queue was full, or server could not be reached or refused them.",
    );
    const earlyCursors = metrics.counter(
      "lucky_acknowledgements_early_total",
      "Delivered cursors of groups stored before their interval ended, because acknowledgeGroupQueue was reached.",
    );
    const dropped = (count: number, error: unknown): void => {
      droppedCursors.inc(count);
      log.warn({ event: "acknowledgements_dropped", cursors: count, err: error });
    };
    const retries = new CursorRetries<CursorAdvance>({
      clock,
      log,
      limit: config.acknowledgeQueue,
      retry: (advance) => this.#advance(advance),
      dropped,
    });
    this.#retries = retries;
    this.#advances = new Coalescer({
      clock,
      batchCount: BATCH_LIMIT,
      lingerMs: config.acknowledgeLingerMs,
      queueCount: config.acknowledgeQueue,
      attempts: ATTEMPTS,
      async call(advances) {
        const request = {
          $typeName: "lucky.internal.ingress.v1.AdvanceBatchRequest",
          advances: advances.map(advanceOf),
        } as const;
        const timeoutMs = config.callTimeoutMs;
        try {
          const { failed } = await ingress.advanceBatch(request, { timeoutMs });
          retries.add(failed.flatMap((at) => advances[at] ?? []));
        } catch (error) {
          // Probably one database hangs: retries of the same batch would delay the others for minutes.
          if (ConnectError.from(error).code !== Code.DeadlineExceeded) throw error;
          retries.add(advances);
        }
      },
      exhausted: (advances) => retries.add(advances),
      dropped,
    });
    this.#deferred = new DeferredCursors({
      clock,
      intervalMs: config.acknowledgeGroupLingerMs,
      limit: config.acknowledgeGroupQueue,
      room: () => this.#advances.room,
      flush: (userId, conversationId, deliveredSequence, epoch) =>
        this.#advance({ ...NOTHING, userId, conversationId, deliveredSequence, epoch }),
      flushedEarly: (count) => earlyCursors.inc(count),
    });
  }

  /** Whether no cursor is held, queued, in flight, or waiting for a retry. */
  get idle(): boolean {
    return this.#deferred.count === 0 && this.#retries.count === 0 && this.#advances.idle;
  }

  /** Applies an Acknowledge frame of a device. Returns its protocol error, if there is one. */
  take(session: Session, userId: string, cursors: readonly Cursor[]): string | undefined {
    if (cursors.length === 0 || cursors.length > CURSOR_LIMIT) {
      return `cursors: 1 to ${CURSOR_LIMIT} are needed`;
    }
    for (const { conversationId, deliveredSequence, readSequence, epoch } of cursors) {
      if (conversationId.startsWith("-") || conversationId === "0") {
        return "conversation_id: must be greater than 0";
      }
      for (const sequence of [deliveredSequence, readSequence]) {
        if (sequence < 0n || sequence > SEQUENCE_LIMIT) return "a sequence is out of bounds";
      }
      if (epoch < 0n) return "epoch: must not be negative";
    }
    for (const cursor of cursors) {
      const { conversationId, epoch } = cursor;
      const delivered = Number(cursor.deliveredSequence);
      const readSequence = Number(cursor.readSequence);
      session.cursors.acknowledge(conversationId, Math.max(delivered, readSequence), epoch);
      let held = 0;
      if (session.cursors.inGroup(conversationId)) {
        const deferrable = readSequence === 0 && delivered > 0;
        if (deferrable && this.#deferred.hold(userId, conversationId, delivered, epoch)) continue;
        held = this.#deferred.take(userId, conversationId, epoch);
      }
      const deliveredSequence = Math.max(delivered, held);
      this.#advance({ ...NOTHING, userId, conversationId, deliveredSequence, readSequence, epoch });
    }
    return undefined;
  }

  /** Reports that a device did not acknowledge entries up to a sequence in time. */
  undelivered(userId: string, conversationId: string, undeliveredSequence: number): void {
    this.#advance({ ...NOTHING, userId, conversationId, undeliveredSequence });
  }

  /** Flushes the held cursors of a user, whose last session on this instance has ended. */
  userLeft(userId: string): void {
    this.#deferred.flushUser(userId);
  }

  /** Flushes all held cursors in batches, and holds no further ones: the instance stops. */
  drain(): void {
    this.#deferred.drain();
  }

  /**
   * Flushes all cursors, also those that wait for a retry, and accepts no further ones. Resolves when
   * server has received them, or cannot be reached.
   */
  close(): Promise<void> {
    this.#deferred.close();
    this.#retries.close();
    return this.#advances.close();
  }

  #advance(advance: CursorAdvance): void {
    const { userId, conversationId, epoch } = advance;
    this.#advances.put(`${userId}:${conversationId}:${epoch}`, (queued) => {
      if (queued === undefined) return advance;
      queued.deliveredSequence = Math.max(queued.deliveredSequence, advance.deliveredSequence);
      queued.readSequence = Math.max(queued.readSequence, advance.readSequence);
      queued.undeliveredSequence = Math.max(
        queued.undeliveredSequence,
        advance.undeliveredSequence,
      );
      // A new cursor gets all its retries.
      queued.failures = Math.min(queued.failures, advance.failures);
      return queued;
    });
  }
}

/** A user's cursors in a conversation. Sequences are numbers: logs stay far below 2^53. */
interface CursorAdvance {
  readonly userId: string;
  readonly conversationId: string;
  deliveredSequence: number;
  readSequence: number;
  undeliveredSequence: number;
  /** Epoch of the conversation in which the sequences were received; 0: not checked. */
  readonly epoch: bigint;
  /** Failures of its database so far, and of its batch after all attempts. */
  failures: number;
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
      epoch: sequences.epoch,
    },
    undeliveredSequence: BigInt(sequences.undeliveredSequence),
  };
}
