import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  ReadEntriesRequestSchema,
  type ReadRange,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { type Gather, gather } from "#platform/batching/gather.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import type { Cursor } from "../socket/cursors.ts";
import { deliverFrames, syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { type Channel, lastForeignSequence, type Watermark } from "../subscriptions/channels.ts";
import type { Acknowledgements } from "../uplink/acknowledgements.ts";

export interface RedeliveryOptions {
  ingress: Pick<Client<typeof IngressService>, "readEntries">;
  acknowledgements: Pick<Acknowledgements, "undelivered">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: {
    readonly ackTimeoutMs: number;
    readonly redeliveries: number;
    readonly redeliveryEntries: number;
    readonly callTimeoutMs: number;
  };
}

/** Maximum ranges in one call. */
const RANGES_LIMIT = maxItems(ReadEntriesRequestSchema.field.ranges);
/**
 * Maximum redeliveries that wait for a read. Further ones are skipped: the next check retries them.
 */
const READ_QUEUE = 100_000;

/** A session with entries of one conversation that it should have acknowledged by now. */
interface OverdueSession {
  readonly session: Session;
  readonly userId: string;
  readonly cursor: Cursor;
  /** The last of these entries. */
  readonly due: number;
}

/**
 * Redelivers entries that are not acknowledged before the time-out, with exponential back-off. Each
 * channel and conversation has at most one pending check, however many deliveries arrive before it.
 * After the last retry the session is marked as behind: it is counted, reported as undelivered,
 * sent SyncRequired, and gets no redelivery until it acknowledges.
 */
export class Redelivery {
  readonly #options: RedeliveryOptions;
  readonly #reads: Gather<ReadRange, Uint8Array[]>;
  readonly #behind: { inc(): void };
  readonly #redelivered: { inc(by: number): void };

  constructor(options: RedeliveryOptions) {
    const { clock, config, ingress, metrics } = options;
    this.#options = options;
    this.#behind = metrics.counter(
      "lucky_sessions_behind_total",
      "Sessions marked as behind in a conversation: they stopped acknowledging its entries.",
    );
    this.#redelivered = metrics.counter(
      "lucky_redeliveries_total",
      "Entries delivered again: they were not acknowledged in time.",
    );
    this.#reads = gather<ReadRange, Uint8Array[]>({
      clock,
      batchCount: RANGES_LIMIT,
      lingerMs: 0,
      inFlight: 2,
      queueCount: READ_QUEUE,
      async call(ranges) {
        const answer = await ingress.readEntries(
          { $typeName: "lucky.internal.ingress.v1.ReadEntriesRequest", ranges: [...ranges] },
          { timeoutMs: config.callTimeoutMs },
        );
        return answer.ranges.map(({ entries }) => entries);
      },
    });
  }

  /** Schedules a check after a delivery, unless one is pending. */
  delivered(channel: Channel, conversationId: string, watermark: Watermark): void {
    if (watermark.check) return;
    this.#schedule(channel, conversationId, watermark, this.#options.config.ackTimeoutMs);
  }

  #schedule(channel: Channel, conversationId: string, watermark: Watermark, delayMs: number): void {
    // A snapshot: entries delivered from now on are not due when the check runs.
    const due = { ...watermark };
    watermark.check = this.#options.clock.after(delayMs, () => {
      watermark.check = undefined;
      const recheckMs = this.#check(channel, conversationId, due);
      const newerMs = watermark.last > due.last ? this.#options.config.ackTimeoutMs : undefined;
      const nextMs = Math.min(recheckMs ?? Infinity, newerMs ?? Infinity);
      if (nextMs < Infinity) this.#schedule(channel, conversationId, watermark, nextMs);
    });
  }

  /**
   * Checks every session of the channel. Returns the delay until the next check, if one is needed.
   */
  #check(channel: Channel, conversationId: string, watermark: Watermark): number | undefined {
    const { clock, config } = this.#options;
    const nowMs = clock.elapsed();
    let nextMs: number | undefined;
    const recheckAfter = (ms: number): void => {
      nextMs = Math.min(nextMs ?? ms, Math.max(1, ms));
    };
    for (const session of channel.sessions) {
      const overdue = overdueSession(session, conversationId, watermark);
      if (!overdue) continue;
      const { cursor } = overdue;
      if (cursor.acked > cursor.ackedAtAttempt) cursor.attempts = 0;
      if (session.slowSinceMs !== undefined) {
        recheckAfter(config.ackTimeoutMs);
      } else if (cursor.retryAtMs > nowMs && cursor.attempts > 0) {
        recheckAfter(cursor.retryAtMs - nowMs);
      } else if (cursor.attempts >= config.redeliveries) {
        this.#markBehind(overdue, conversationId, watermark);
      } else {
        cursor.attempts += 1;
        cursor.ackedAtAttempt = cursor.acked;
        const backoffMs = config.ackTimeoutMs * 2 ** cursor.attempts;
        cursor.retryAtMs = nowMs + backoffMs;
        recheckAfter(backoffMs);
        void this.#redeliver(overdue, conversationId);
      }
    }
    return nextMs;
  }

  #markBehind(
    { session, userId, cursor, due }: OverdueSession,
    conversationId: string,
    watermark: Watermark,
  ): void {
    const { acknowledgements, log } = this.#options;
    cursor.behind = due;
    this.#behind.inc();
    log.info({ event: "session_behind", sessionId: session.id, conversationId, sequence: due });
    acknowledgements.undelivered(userId, conversationId, due);
    session.sendRequired(syncRequiredFrame(conversationId, Math.max(watermark.last, due)));
  }

  async #redeliver(
    { session, userId, cursor }: OverdueSession,
    conversationId: string,
  ): Promise<void> {
    const { clock, config, log } = this.#options;
    try {
      const entries = await this.#reads.add({
        $typeName: "lucky.internal.ingress.v1.ReadRange",
        userId,
        conversationId,
        afterSequence: BigInt(cursor.acked),
        limit: config.redeliveryEntries,
      });
      if (!entries || entries.length === 0) return;
      for (const frame of deliverFrames(entries)) {
        if (!session.sendOptional(frame, clock.elapsed())) {
          cursor.missed = true;
          return;
        }
      }
      this.#redelivered.inc(entries.length);
    } catch (error) {
      // The next check retries the read.
      log.warn({ event: "read_entries_failed", conversationId, err: error });
    }
  }
}

/** The session with its due entries; undefined when none is due, or it is marked as behind. */
function overdueSession(
  session: Session,
  conversationId: string,
  watermark: Watermark,
): OverdueSession | undefined {
  const userId = session.caller?.userId;
  if (!session.isOpen || userId === undefined) return undefined;
  const { cursors } = session;
  const inGroup = cursors.inGroup(conversationId);
  const known = cursors.get(conversationId);
  if (!known && !inGroup) return undefined;
  if (known && known.behind > 0) return undefined;
  // In a group every session of the channel gets all entries, so the watermark is due. Other
  // cursors record the entries that the session must acknowledge.
  const last = lastForeignSequence(watermark, session.id);
  const due = inGroup ? last : Math.min(last, known?.expected ?? 0);
  const acked = cursors.acked(conversationId) ?? watermark.first - 1;
  if (acked >= due) return undefined;
  const cursor = known ?? cursors.ensure(conversationId, watermark.first - 1);
  return { session, userId, cursor, due };
}
