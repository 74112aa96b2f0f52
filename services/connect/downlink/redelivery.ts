import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  ReadEntriesRequestSchema,
  type ReadRange,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { type Gather, gather } from "#platform/batching/gather.ts";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Cursor } from "../socket/cursors.ts";
import { deliverFrames, syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { type Channel, lastFor, type Watermark } from "../subscriptions/channels.ts";
import type { Acknowledgements } from "../uplink/acknowledge.ts";

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

const RANGES_LIMIT = maxItems(ReadEntriesRequestSchema.field.ranges);

/** A session and what it owes of one conversation. */
interface Debtor {
  readonly session: Session;
  readonly userId: string;
  readonly cursor: Cursor;
  /** The last sequence it should have acknowledged by now. */
  readonly due: number;
}

/**
 * Delivers again what is not acknowledged in time. Per channel and conversation one check is on its
 * way at most, however much is delivered meanwhile. After the last repetition the session is
 * `behind`: counted, reported as undelivered and told to sync, then left alone until it
 * acknowledges.
 */
export class Redelivery {
  readonly #options: RedeliveryOptions;
  readonly #ranges: Gather<ReadRange, Uint8Array[]>;
  readonly #undelivered: { inc(): void };
  readonly #repeated: { inc(by: number): void };

  constructor(options: RedeliveryOptions) {
    const { clock, config, ingress, metrics } = options;
    this.#options = options;
    this.#undelivered = metrics.counter(
      "lucky_undelivered_total",
      "Sessions that fell behind: a conversation was not acknowledged in time.",
    );
    this.#repeated = metrics.counter(
      "lucky_redeliveries_total",
      "Entries delivered again because they were not acknowledged in time.",
    );
    this.#ranges = gather<ReadRange, Uint8Array[]>({
      clock,
      limit: RANGES_LIMIT,
      lingerMs: 0,
      inFlight: 2,
      queue: 100_000,
      async call(ranges) {
        const answer = await ingress.readEntries(
          { $typeName: "lucky.internal.ingress.v1.ReadEntriesRequest", ranges: [...ranges] },
          { timeoutMs: config.callTimeoutMs },
        );
        return answer.ranges.map(({ entries }) => entries);
      },
    });
  }

  /** Something of the conversation was delivered to the channel. */
  delivered(channel: Channel, conversationId: string, watermark: Watermark): void {
    if (watermark.check) return;
    this.#schedule(channel, conversationId, watermark, this.#options.config.ackTimeoutMs);
  }

  #schedule(channel: Channel, conversationId: string, watermark: Watermark, delayMs: number): void {
    // What is delivered until the check rings has not had its time by then.
    const due = { ...watermark };
    watermark.check = this.#options.clock.after(delayMs, () => {
      watermark.check = undefined;
      const againMs = this.#check(channel, conversationId, due);
      const newer = watermark.last > due.last ? this.#options.config.ackTimeoutMs : undefined;
      const nextMs = Math.min(againMs ?? Infinity, newer ?? Infinity);
      if (nextMs < Infinity) this.#schedule(channel, conversationId, watermark, nextMs);
    });
  }

  /** Looks at every session of the channel. Returns after how long to look again, if at all. */
  #check(channel: Channel, conversationId: string, watermark: Watermark): number | undefined {
    const { clock, config } = this.#options;
    const nowMs = clock.elapsed();
    let nextMs: number | undefined;
    const lookAgain = (ms: number): void => {
      nextMs = Math.min(nextMs ?? ms, Math.max(1, ms));
    };
    for (const session of channel.sessions) {
      const debtor = debtorOf(session, conversationId, watermark);
      if (!debtor) continue;
      const { cursor } = debtor;
      if (cursor.acked > cursor.ackedAtAttempt) cursor.attempts = 0;
      if (session.slowSinceMs !== undefined) {
        lookAgain(config.ackTimeoutMs);
      } else if (cursor.retryAtMs > nowMs && cursor.attempts > 0) {
        lookAgain(cursor.retryAtMs - nowMs);
      } else if (cursor.attempts >= config.redeliveries) {
        this.#fallBehind(debtor, conversationId, watermark);
      } else {
        cursor.attempts += 1;
        cursor.ackedAtAttempt = cursor.acked;
        const pauseMs = config.ackTimeoutMs * 2 ** cursor.attempts;
        cursor.retryAtMs = nowMs + pauseMs;
        lookAgain(pauseMs);
        void this.#repeat(debtor, conversationId);
      }
    }
    return nextMs;
  }

  #fallBehind({ session, userId, cursor, due }: Debtor, conversationId: string, w: Watermark) {
    const { acknowledgements, log } = this.#options;
    cursor.behind = due;
    this.#undelivered.inc();
    log.info({ event: "behind", sessionId: session.id, conversationId, sequence: due });
    acknowledgements.undelivered(userId, conversationId, due);
    session.tell(syncRequiredFrame(conversationId, Math.max(w.last, due)));
  }

  async #repeat({ session, userId, cursor }: Debtor, conversationId: string): Promise<void> {
    const { clock, config, log } = this.#options;
    try {
      const entries = await this.#ranges.add({
        $typeName: "lucky.internal.ingress.v1.ReadRange",
        userId,
        conversationId,
        afterSequence: BigInt(cursor.acked),
        limit: config.redeliveryEntries,
      });
      if (!entries || entries.length === 0) return;
      for (const frame of deliverFrames(entries)) {
        if (!session.offer(frame, clock.now())) {
          cursor.missed = true;
          return;
        }
      }
      this.#repeated.inc(entries.length);
    } catch (error) {
      // The next check tries again.
      log.warn({ event: "read_entries_failed", conversationId, err: error });
    }
  }
}

/** The session as a debtor of the conversation; undefined when it owes nothing, or is behind. */
function debtorOf(session: Session, conversationId: string, w: Watermark): Debtor | undefined {
  const userId = session.caller?.userId;
  if (!session.isOpen || userId === undefined) return undefined;
  const { cursors } = session;
  const inGroup = cursors.inGroup(conversationId);
  const known = cursors.get(conversationId);
  if (!known && !inGroup) return undefined;
  if (known && known.behind > 0) return undefined;
  // Of a group's channel every session is sent everything; else it is known what was sent.
  const last = lastFor(w, session.id);
  const due = inGroup ? last : Math.min(last, known?.expected ?? 0);
  const acked = cursors.acked(conversationId) ?? w.first - 1;
  if (acked >= due) return undefined;
  return { session, userId, cursor: known ?? cursors.ensure(conversationId, w.first - 1), due };
}
