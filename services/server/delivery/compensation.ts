import { ConnectError } from "@connectrpc/connect";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import { excerpt } from "#platform/excerpt.ts";
import type { Log } from "#platform/log.ts";
import type { Conversations } from "../conversations/conversations.ts";
import { bigints, integers } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import type { EntryRow } from "../log/entries.ts";
import { storedMemberships } from "../log/memberships.ts";
import type { ServerMetrics } from "../metrics.ts";
import { type Delivery, deliveryOf, type LogEntry } from "./envelopes.ts";
import { newsOf, type Outbox } from "./outbox.ts";
import type { Relay } from "./relay.ts";

export interface CompensationOptions {
  readonly db: Database;
  readonly bus: Bus;
  readonly conversations: Conversations;
  readonly relay: Relay;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  readonly intervalMs: number;
  readonly config: { readonly outboxAttempts: number };
  readonly maxBackoffMs: number;
  /** Delay of the first attempt after the commit, ms. */
  readonly delayMs: number;
}

interface OutboxRow {
  outbox_id: string;
  conversation_ids: string[];
  base_sequences: string[];
  counts: number[];
  attempts: number;
}

interface RangeRow extends EntryRow {
  nr: number;
  kind: number;
}

/** Maximum rows in one claim; a row represents at most one batch of messages. */
const CLAIM_ROWS = 16;
/**
 * After a first failure a poll ends when it has run this long, ms, so that callers that wait for it
 * are not blocked longer.
 */
const MAX_FAILING_POLL_MS = 5_000;
/**
 * Back-off after the first attempt, ms; it doubles with each further attempt, up to `maxBackoffMs`.
 */
const BACKOFF_MS = 1_000;
/** Difference between the time of day and elapsed time after which the clock stepped back, ms. */
const STEP_MS = 1_000;
/** Interval, ms of elapsed time, of the search for rows of another server whose clock was ahead. */
const HASTEN_INTERVAL_MS = 60_000;

/**
 * Claims the rows that are due longest by postponing their next attempt, so that no other server
 * retries them at the same time. Returns rows with fewer attempts first, and older commits first
 * among them.
 */
export const claimOutbox: Statement = {
  name: "im_outbox_claim",
  route: { kind: "own" },
  text: `
    WITH due AS (
      SELECT outbox_id FROM im.outbox WHERE next_attempt_at_ms <= $1::bigint
       ORDER BY next_attempt_at_ms, outbox_id LIMIT ${CLAIM_ROWS} FOR UPDATE SKIP LOCKED
    ), taken AS (
      UPDATE im.outbox o
         SET attempts = o.attempts + 1,
             next_attempt_at_ms = $1::bigint
               + least($2::bigint, ${BACKOFF_MS} * (1::bigint << least(o.attempts, 20)))
        FROM due WHERE o.outbox_id = due.outbox_id
      RETURNING o.outbox_id, o.conversation_ids::text[], o.base_sequences::text[], o.counts,
                o.attempts
    )
    SELECT * FROM taken ORDER BY attempts, outbox_id`,
};

/**
 * Releases claimed rows that were not tried: they are due at once, and the claim is not counted as
 * an attempt. Skips rows that another process has claimed, abandoned or reset since.
 */
export const releaseOutbox: Statement = {
  name: "im_outbox_release",
  route: { kind: "own" },
  text: `
    UPDATE im.outbox SET attempts = attempts - 1, next_attempt_at_ms = $3::bigint
     WHERE outbox_id = ANY ($1::bigint[]) AND next_attempt_at_ms IS NOT NULL
       AND attempts = ($2::int[])[array_position($1::bigint[], outbox_id)]`,
};

/**
 * Makes rows due whose next attempt is later than the longest delay or back-off: it was set before a
 * clock stepped back. Skips rows that are being published.
 */
export const hastenOutbox: Statement = {
  name: "im_outbox_hasten",
  route: { kind: "own" },
  text: `
    UPDATE im.outbox SET next_attempt_at_ms = $1::bigint
     WHERE outbox_id = ANY (ARRAY(
       SELECT outbox_id FROM im.outbox WHERE next_attempt_at_ms > $1::bigint + $2::bigint
          FOR UPDATE SKIP LOCKED))`,
};

/** Maximum bytes of the reason of a failed batch. */
const FAILURE_BYTES = 512;

/** Abandons a row. It becomes news once: the sweep reads no abandoned rows. */
export const abandonOutbox: Statement = {
  name: "im_outbox_abandon",
  route: { kind: "own" },
  text: newsOf(`
      UPDATE im.outbox
         SET next_attempt_at_ms = NULL, failure = $2::text, failed_at_ms = $3::bigint
       WHERE outbox_id = $1::bigint AND next_attempt_at_ms IS NOT NULL`),
};

export const selectRanges: Statement = {
  name: "im_ranges",
  route: { kind: "own" },
  text: `
    SELECT i.nr::int AS nr, e.sequence, e.kind, e.accepted_at_ms, e.body
      FROM unnest($1::bigint[], $2::bigint[], $3::int[])
           WITH ORDINALITY AS i(conversation_id, base, entries, nr)
      JOIN im.entry e ON e.conversation_id = i.conversation_id
                     AND e.sequence > i.base AND e.sequence <= i.base + i.entries
     ORDER BY i.nr, e.sequence`,
};

export const countOutbox: Statement = {
  name: "im_outbox_count",
  route: { kind: "own" },
  text: `
    SELECT (SELECT count(*)::int FROM (SELECT 1 FROM im.outbox LIMIT 10001) AS rows) AS pending,
           (SELECT min(outbox_id) FROM im.outbox WHERE next_attempt_at_ms IS NOT NULL) AS oldest`,
};

/**
 * Retries the publication of committed batches that the bus has not confirmed in time: the bus was
 * unreachable, a server died between commit and publish, or the relay was full. Polls the outbox at
 * an interval, with a back-off per row. Servers share the rows: each row is claimed by one of them. A
 * row is confirmed only when all of its entries were found and published.
 */
export class Compensation {
  readonly #options: CompensationOptions;
  #timer: Timer | undefined;
  #polling: Promise<void> | undefined;
  /** The time of day minus elapsed time at the last poll. */
  #epochMs = Number.POSITIVE_INFINITY;
  /** When `hastenOutbox` last ran, ms by the clock's elapsed time. */
  #hastenedMs = Number.NEGATIVE_INFINITY;
  /** The oldest batch at the last poll, and the first poll that has seen it. */
  #oldest: { readonly outboxId: string; readonly sinceMs: number } | undefined;
  #stopped = false;

  constructor(options: CompensationOptions) {
    this.#options = options;
  }

  /** Polls now, and then at the interval. */
  start(): void {
    void this.poll();
    this.#timer = this.#options.clock.every(this.#options.intervalMs, () => void this.poll());
  }

  /** Publishes all due rows. Never throws. Concurrent calls share one poll. */
  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  /** Stops polling; resolves when the current poll has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.stop();
    await this.#polling;
  }

  /**
   * Age of the oldest batch that waits for its publication since it was first seen here, seconds; 0
   * for none. Its time of the commit is not used: the clocks of servers differ.
   */
  #ageOf(outboxId: string | undefined): number {
    const nowMs = this.#options.clock.elapsed();
    if (outboxId === undefined) this.#oldest = undefined;
    else if (outboxId !== this.#oldest?.outboxId) this.#oldest = { outboxId, sinceMs: nowMs };
    return this.#oldest === undefined ? 0 : (nowMs - this.#oldest.sinceMs) / 1_000;
  }

  /**
   * The next attempt is a time of day, which all servers share. It may be far ahead after the clock of
   * this server, or of another one, has stepped back.
   */
  async #hasten(): Promise<void> {
    const { db, clock, maxBackoffMs, delayMs } = this.#options;
    const nowMs = clock.elapsed();
    const epochMs = clock.now() - nowMs;
    const stepped = epochMs < this.#epochMs - STEP_MS;
    if (stepped || nowMs - this.#hastenedMs >= HASTEN_INTERVAL_MS) {
      await db.run(hastenOutbox, [String(clock.now()), Math.max(maxBackoffMs, delayMs)]);
      this.#hastenedMs = nowMs;
    }
    this.#epochMs = epochMs;
  }

  async #poll(): Promise<void> {
    const { db, clock, metrics, maxBackoffMs, log, outbox } = this.#options;
    try {
      const [row] = await db.run<{ pending: number; oldest: string | null }>(countOutbox, []);
      const seconds = this.#ageOf(row?.oldest ?? undefined);
      metrics.outboxPending(db.number, { count: row?.pending ?? 0, seconds });
      await this.#hasten();
      if (row?.pending === 0) return;
      // While the bus is unreachable no row is claimed: attempts are not used up, and rows stay
      // due.
      const startedMs = clock.elapsed();
      let failed = false;
      const mayContinue = () =>
        this.#mayPublish() && !(failed && clock.elapsed() - startedMs >= MAX_FAILING_POLL_MS);
      while (mayContinue()) {
        const claimedAtMs = String(clock.now());
        const rows = await db.run<OutboxRow>(claimOutbox, [claimedAtMs, maxBackoffMs]);
        let tried = 0;
        while (tried < rows.length && mayContinue()) {
          if (!(await this.#publish(rows[tried++]!))) failed = true;
        }
        const untried = rows.slice(tried);
        if (untried.length > 0)
          await db.run(releaseOutbox, [
            bigints(untried.map((row) => row.outbox_id)),
            integers(untried.map((row) => row.attempts)),
            // Due at the time of the claim: before the failed row, which was postponed from then
            // on.
            claimedAtMs,
          ]);
        if (rows.length < CLAIM_ROWS) break;
      }
      await outbox.flush();
    } catch (error) {
      log.warn({ event: "compensation_failed", err: error });
    }
  }

  #mayPublish(): boolean {
    return !this.#stopped && this.#options.bus.ready();
  }

  /**
   * Publishes a row; returns false on failure. The row is retried after its back-off; other rows do
   * not wait.
   */
  async #publish(row: OutboxRow): Promise<boolean> {
    const { db, clock, relay, outbox, metrics, config, log } = this.#options;
    const { outbox_id: outboxId, attempts } = row;
    try {
      const { deliveries, missing } = await this.#deliveries(row);
      await relay.publish(deliveries);
      if (missing.length > 0) throw new Error(`The log lacks ${missing.join("; ")}`);
      metrics.relayed("confirmed", 1);
      outbox.confirmed(outboxId);
      return true;
    } catch (error) {
      metrics.relayed("failed", 1);
      log.warn({ event: "outbox_attempt_failed", outboxId, attempts, err: error });
      if (attempts < config.outboxAttempts) return false;
      metrics.outboxFailed(1);
      log.error({ event: "outbox_abandoned", outboxId, attempts, err: error });
      const failure = excerpt(messageOf(error), FAILURE_BYTES);
      await db.run(abandonOutbox, [outboxId, failure, String(clock.now())]);
      return false;
    }
  }

  /**
   * Reads the deliveries of a row from the log. A range that lacks its conversation or an entry is
   * not delivered: `missing` describes it.
   */
  async #deliveries(row: OutboxRow): Promise<{ deliveries: Delivery[]; missing: string[] }> {
    const { db, conversations } = this.#options;
    const { conversation_ids: ids, base_sequences: bases, counts } = row;
    const found = await conversations.all(ids);
    const values = [bigints(ids), bigints(bases), integers(counts)];
    const rows = await db.run<RangeRow>(selectRanges, values);
    const byRange = Map.groupBy(rows, ({ nr }) => nr - 1);
    const deliveries: Delivery[] = [];
    const missing: string[] = [];
    for (const [index, conversationId] of ids.entries()) {
      const conversation = found.get(conversationId);
      const entries = byRange.get(index) ?? [];
      if (conversation === undefined) missing.push(`conversation ${conversationId}`);
      else if (entries.length < counts[index]!)
        missing.push(
          `${counts[index]! - entries.length} of ${counts[index]} entries after sequence ${bases[index]} of conversation ${conversationId}`,
        );
      else
        deliveries.push(
          deliveryOf(
            conversation,
            entries.map((entry) => logEntryOf(entry, conversationId)),
          ),
        );
    }
    return { deliveries, missing };
  }
}

/** The text of an error for operators, without the code that RPC errors put in front. */
function messageOf(error: unknown): string {
  return error instanceof ConnectError ? error.rawMessage : (error as Error).message;
}

/**
 * An entry to deliver. The outbox does not store the sender's session, so that session receives its own
 * message, too, and deduplicates it.
 */
function logEntryOf(entry: RangeRow, conversationId: string): LogEntry {
  return {
    sequence: Number(entry.sequence),
    acceptedAtMs: Number(entry.accepted_at_ms),
    body: entry.body,
    memberships: storedMemberships(entry, conversationId),
  };
}
