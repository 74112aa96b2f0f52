import type { Database, Statement } from "../log/database.ts";

/** The log's state at a read, in each row. */
export interface LogState {
  /** im.history() */
  readonly history: string;
  /** Identity of the database. */
  readonly database_id: string;
  /** Epoch of the last reset of the database's log. */
  readonly log_epoch: string;
  /** Changes of transactions from here on may be invisible to this read. */
  readonly lowest_running: string;
  /** Changes of transactions before it are visible, except those that are running. */
  readonly next_change: string;
  /** News of transactions before it was deleted. */
  readonly floor: string;
}

/** Changed conversations: an outbox row, or a row of news. */
export interface NewsRow extends LogState {
  /** outbox_id or news_id. */
  readonly id: string;
  /** The transaction that stored the news; null in the outbox. */
  readonly changed_by: string | null;
  readonly conversation_ids: readonly string[];
  readonly last_sequences: readonly string[];
  readonly member_conversation_ids: readonly string[];
  readonly member_ids: readonly string[];
}

/** The log's state, and the rows of one statement. */
export interface NewsPage {
  readonly state: LogState;
  readonly rows: readonly NewsRow[];
  /** Whether further rows may follow. */
  readonly isFull: boolean;
}

/**
 * Rows in one statement. A row of the outbox has at most the conversations of one append, and a row of
 * news at most 1,000 (delivery/outbox.ts).
 */
const PAGE_ROWS = 100;

// Materialized: im.history() reads a file of PostgreSQL, once instead of once per row.
const STATE = `
  WITH log AS MATERIALIZED (
    SELECT im.history() AS history, pg_snapshot_xmin(s.snapshot) AS lowest_running,
           pg_snapshot_xmax(s.snapshot) AS next_change,
           (SELECT f.floor FROM im.news_floor f WHERE f.one_row) AS floor,
           d.database_id::text, d.epoch AS log_epoch
      FROM (SELECT pg_current_snapshot() AS snapshot) s, im.database d
     WHERE d.one_row
  )`;

/**
 * Batches that the bus has not confirmed: their entries may not have been delivered. Abandoned
 * batches are in the news instead.
 */
export const selectUnconfirmed: Statement = {
  name: "im_unconfirmed",
  route: { kind: "own" },
  text: `${STATE}
    SELECT log.*, o.*
      FROM log
      LEFT JOIN LATERAL (
        SELECT b.outbox_id AS id, NULL AS changed_by, b.conversation_ids::text[],
               ARRAY(SELECT i.base + i.entries
                       FROM unnest(b.base_sequences, b.counts) AS i(base, entries))::text[]
                 AS last_sequences,
               array_fill(b.conversation_ids[1], ARRAY[cardinality(b.member_ids)])::text[]
                 AS member_conversation_ids,
               b.member_ids::text[]
          FROM im.outbox b
         WHERE b.outbox_id > $1::bigint AND b.next_attempt_at_ms IS NOT NULL
         ORDER BY b.outbox_id LIMIT ${PAGE_ROWS}) o ON true
     ORDER BY o.id`,
};

/** A page of news after the row $2 of the transaction $1. */
export const selectNews: Statement = {
  name: "im_news",
  route: { kind: "own" },
  text: `${STATE}
    SELECT log.*, n.*
      FROM log
      LEFT JOIN LATERAL (
        SELECT w.news_id AS id, w.changed_by, w.conversation_ids::text[], w.last_sequences::text[],
               w.member_conversation_ids::text[], w.member_ids::text[]
          FROM im.news w
         WHERE w.changed_by >= $1::xid8 AND (w.changed_by > $1::xid8 OR w.news_id > $2::bigint)
         ORDER BY w.changed_by, w.news_id LIMIT ${PAGE_ROWS}) n ON true
     ORDER BY n.changed_by, n.id`,
};

/**
 * Marks the start of an interval by an empty row. Its transaction commits, so the position advances
 * while the bus confirms nothing.
 */
export const markNews: Statement = {
  name: "im_news_mark",
  route: { kind: "own" },
  text: `
    INSERT INTO im.news (conversation_ids, last_sequences) VALUES ('{}', '{}')
    RETURNING changed_by`,
};

/** Deletes the news before the transaction $1, and raises the floor to it. */
export const deleteNews: Statement = {
  name: "im_news_delete",
  route: { kind: "own" },
  text: `
    WITH raised AS (
      UPDATE im.news_floor SET floor = $1::xid8 WHERE one_row AND floor < $1::xid8 RETURNING 1
    )
    DELETE FROM im.news WHERE changed_by < $1::xid8 AND EXISTS (SELECT FROM raised)`,
};

/** Reads a page of the outbox after a row. Throws UNAVAILABLE. */
export function readUnconfirmed(db: Database, afterId: string): Promise<NewsPage> {
  return readPage(db, selectUnconfirmed, [afterId]);
}

/** Reads a page of news after a row of a transaction. Throws UNAVAILABLE. */
export function readNews(
  db: Database,
  { change, afterId }: { change: string; afterId: string },
): Promise<NewsPage> {
  return readPage(db, selectNews, [change, afterId]);
}

async function readPage(db: Database, statement: Statement, values: string[]): Promise<NewsPage> {
  const read = await db.run<NewsRow | (LogState & { id: null })>(statement, values);
  const rows = read.filter((row): row is NewsRow => row.id !== null);
  return { state: read[0]!, rows, isFull: rows.length === PAGE_ROWS };
}
