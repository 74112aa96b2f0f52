import { FlushLoop } from "#platform/batching/flush-loop.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";

export interface OutboxOptions {
  readonly db: Database;
  readonly clock: Clock;
  readonly log: Log;
  /** Linger time of confirmed rows, ms, so that they are deleted in one batch. */
  readonly deleteLingerMs: number;
}

/** Maximum conversations, or memberships, in one row of news: a page of rows stays small. */
const NEWS_ITEMS = 1_000;

/**
 * A statement that stores the conversations and memberships of outbox rows as news. `change` is a
 * DELETE or an UPDATE of these rows.
 */
export const newsOf = (change: string): string => `
    WITH outbox AS (
      ${change}
      RETURNING conversation_ids, base_sequences, counts, member_ids
    ), changed AS (
      SELECT i.conversation_id, max(i.base + i.entries) AS last_sequence,
             (row_number() OVER () - 1) / ${NEWS_ITEMS} AS part
        FROM outbox o, unnest(o.conversation_ids, o.base_sequences, o.counts)
                         AS i(conversation_id, base, entries)
       GROUP BY i.conversation_id
    ), member AS (
      SELECT o.conversation_ids[1] AS conversation_id, m.user_id,
             (row_number() OVER () - 1) / ${NEWS_ITEMS} AS part
        FROM outbox o, unnest(o.member_ids) AS m(user_id)
    )
    INSERT INTO im.news (conversation_ids, last_sequences, member_conversation_ids, member_ids)
    SELECT array_agg(conversation_id), array_agg(last_sequence), '{}'::bigint[], '{}'::bigint[]
      FROM changed GROUP BY part
     UNION ALL
    SELECT '{}', '{}', array_agg(conversation_id), array_agg(user_id) FROM member GROUP BY part`;

/**
 * Deletes confirmed rows, and keeps their conversations as news for the sweep, in one statement: each
 * committed entry is either in the outbox, or in news that is newer than the last sweep.
 */
export const deleteOutbox: Statement = {
  name: "im_outbox_delete",
  route: { kind: "own" },
  text: newsOf("DELETE FROM im.outbox WHERE outbox_id = ANY ($1::bigint[])"),
};

/**
 * Resets abandoned rows, all or those with the ids, for an operator's replay: they are due at once,
 * with no attempt counted.
 */
export const replayOutbox: Statement = {
  name: "im_outbox_replay",
  route: { kind: "own" },
  text: `
    UPDATE im.outbox
       SET attempts = 0, next_attempt_at_ms = $1::bigint, failure = NULL, failed_at_ms = NULL
     WHERE next_attempt_at_ms IS NULL AND ($2::bigint[] IS NULL OR outbox_id = ANY ($2::bigint[]))
    RETURNING outbox_id`,
};

/** Maximum rows deleted in one statement; each is one batch of messages. */
const CHUNK_ROWS = 200;
/**
 * Maximum confirmed rows queued for deletion. The compensation publishes rows beyond the bound a
 * second time.
 */
const MAX_CONFIRMED = 100_000;

/** Rows of committed batches that the bus has not confirmed yet. */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #loop: FlushLoop;
  #confirmed: string[] = [];

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#loop = new FlushLoop({ clock: options.clock, flush: () => this.#delete() });
  }

  /** Queues the row of a confirmed batch for deletion, which runs after `deleteLingerMs`. */
  confirmed(outboxId: string): void {
    if (this.#confirmed.length >= MAX_CONFIRMED) return;
    this.#confirmed.push(outboxId);
    this.#loop.schedule(this.#options.deleteLingerMs);
  }

  /**
   * Deletes the rows of all confirmed batches. Never throws: the next flush retries a failed
   * deletion.
   */
  flush(): Promise<void> {
    return this.#loop.flushNow();
  }

  /**
   * Resets the abandoned rows, all or those with the ids. Returns the number of batches. Throws
   * UNAVAILABLE.
   */
  async replay(outboxIds?: readonly string[]): Promise<number> {
    const { db, clock } = this.#options;
    const ids = outboxIds === undefined ? null : bigints(outboxIds);
    return (await db.run(replayOutbox, [String(clock.now()), ids])).length;
  }

  async #delete(): Promise<void> {
    const { db, log } = this.#options;
    while (this.#confirmed.length > 0) {
      const ids = this.#confirmed.slice(0, CHUNK_ROWS);
      try {
        await db.run(deleteOutbox, [bigints(ids)]);
      } catch (error) {
        log.warn({ event: "outbox_delete_failed", err: error });
        return;
      }
      this.#confirmed.splice(0, ids.length);
    }
  }
}
