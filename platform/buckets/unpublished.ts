import type pg from "pg";

/** Rows of the outbox in one statement of a clean-up. */
const CHUNK_ROWS = 1_000;

/** Whether a row of the outbox has a conversation of the bucket $1. */
const CONCERNED = `EXISTS (SELECT FROM unnest(o.conversation_ids) AS c(id) WHERE (c.id & 1023) = $1::bigint)`;

/** The unconfirmed batches of a bucket: the bucket's part of each row, as JSON. */
const SELECT_PARTS = `
  SELECT coalesce(json_agg(p), '[]')::text AS parts FROM (
    SELECT array_agg(i.id::text ORDER BY nr) AS conversation_ids,
           array_agg(i.base::text ORDER BY nr) AS base_sequences,
           array_agg(i.entries ORDER BY nr) AS counts,
           o.created_at_ms::text, o.attempts, o.next_attempt_at_ms::text,
           o.failure, o.failed_at_ms::text,
           CASE WHEN (o.conversation_ids[1] & 1023) = $1::bigint THEN o.member_ids ELSE '{}' END::text[]
             AS member_ids
      FROM im.outbox o, unnest(o.conversation_ids, o.base_sequences, o.counts) WITH ORDINALITY
                          AS i(id, base, entries, nr)
     WHERE (i.id & 1023) = $1::bigint
     GROUP BY o.outbox_id) p`;

/**
 * Each part gets an id that no row ever had: a server may confirm a row late, and would delete a later one
 * with the same id. The last 64 bits of a random UUID have 62 random ones; they are masked, so that the
 * id is positive. A duplicate key fails the switch, and the move goes back.
 */
const INSERT_PARTS = `
  INSERT INTO im.outbox (outbox_id, conversation_ids, base_sequences, counts, created_at_ms, attempts,
                         next_attempt_at_ms, member_ids, failure, failed_at_ms)
  SELECT ('x' || right(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint
           & ((1::bigint << 62) - 1),
         conversation_ids, base_sequences, counts, created_at_ms, attempts, next_attempt_at_ms, member_ids,
         failure, failed_at_ms
    FROM json_to_recordset($1::json) AS p(
           conversation_ids bigint[], base_sequences bigint[], counts integer[],
           created_at_ms bigint, attempts integer, next_attempt_at_ms bigint, member_ids bigint[],
           failure text, failed_at_ms bigint)`;

/** Maximum conversations, or memberships, in one row of news. */
const NEWS_ITEMS = 1_000;

/**
 * The news of a bucket since the transaction $2: the latest sequence of each conversation, and changed
 * memberships.
 */
const SELECT_NEWS = `
  WITH changed AS (
    SELECT i.id, max(i.last) AS last, (row_number() OVER () - 1) / ${NEWS_ITEMS} AS part
      FROM im.news n, unnest(n.conversation_ids, n.last_sequences) AS i(id, last)
     WHERE n.changed_by >= $2::xid8 AND (i.id & 1023) = $1::bigint GROUP BY i.id
  ), member AS (
    SELECT i.id, i.user_id, (row_number() OVER () - 1) / ${NEWS_ITEMS} AS part
      FROM im.news n, unnest(n.member_conversation_ids, n.member_ids) AS i(id, user_id)
     WHERE n.changed_by >= $2::xid8 AND (i.id & 1023) = $1::bigint GROUP BY i.id, i.user_id
  )
  SELECT array_agg(id)::text[], array_agg(last)::text[], '{}'::text[], '{}'::text[]
    FROM changed GROUP BY part
   UNION ALL
  SELECT '{}', '{}', array_agg(id)::text[], array_agg(user_id)::text[] FROM member GROUP BY part`;

/** News of a bucket. */
export interface BucketNews {
  /** Rows for im.news. */
  readonly rows: readonly (readonly string[][])[];
  /** Transactions before this one have no further news. */
  readonly before: string;
}

/**
 * Reads the news of a bucket since a transaction. All news are those of every bucket of the database, so
 * they are read before the fence, and only the later ones behind it.
 */
export async function readNews(
  source: pg.Client,
  { bucket, since = "0" }: { readonly bucket: number; readonly since?: string },
): Promise<BucketNews> {
  // Before the news: a transaction that commits between both statements is read twice at most.
  const lowest = await source.query<{ before: string }>(
    "SELECT pg_snapshot_xmin(pg_current_snapshot()) AS before",
  );
  const news = await source.query<string[][]>({
    text: SELECT_NEWS,
    values: [bucket, since],
    rowMode: "array",
  });
  return { rows: news.rows, before: lowest.rows[0]!.before };
}

/**
 * Copies the unpublished batches of a bucket to the target's outbox, and its news to the target's news,
 * within the target's transaction. `known` are the news that were read before the fence. A batch may be
 * published twice, which is harmless, and so is news that is stored twice.
 */
export async function copyUnpublished(
  source: pg.Client,
  target: pg.Client,
  { bucket, known }: { readonly bucket: number; readonly known: BucketNews },
): Promise<void> {
  // The outbox first: a batch that is confirmed in between is found in the news.
  const outbox = await source.query<{ parts: string }>(SELECT_PARTS, [bucket]);
  await target.query(INSERT_PARTS, [outbox.rows[0]!.parts]);
  const later = await readNews(source, { bucket, since: known.before });
  for (const row of [...known.rows, ...later.rows])
    await target.query(
      `INSERT INTO im.news (conversation_ids, last_sequences, member_conversation_ids, member_ids)
       VALUES ($1, $2, $3, $4)`,
      [...row],
    );
}

/** Removes the conversations of a bucket from the outbox, and the rows that become empty. */
export async function removeUnpublished(client: pg.Client, bucket: number): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ changed: number }>(
      `WITH part AS MATERIALIZED (
         SELECT o.outbox_id, array_agg(i.id ORDER BY nr) FILTER (WHERE i.stays) AS ids,
                array_agg(i.base ORDER BY nr) FILTER (WHERE i.stays) AS bases,
                array_agg(i.entries ORDER BY nr) FILTER (WHERE i.stays) AS counts
           FROM (SELECT * FROM im.outbox o WHERE ${CONCERNED} LIMIT ${CHUNK_ROWS}) o
          CROSS JOIN LATERAL (
            SELECT e.*, (e.id & 1023) <> $1::bigint AS stays
              FROM unnest(o.conversation_ids, o.base_sequences, o.counts) WITH ORDINALITY
                     AS e(id, base, entries, nr)) i
          GROUP BY o.outbox_id
       ), emptied AS (
         DELETE FROM im.outbox o USING part p WHERE o.outbox_id = p.outbox_id AND p.ids IS NULL
       ), shortened AS (
         UPDATE im.outbox o SET conversation_ids = p.ids, base_sequences = p.bases, counts = p.counts
           FROM part p WHERE o.outbox_id = p.outbox_id AND p.ids IS NOT NULL
       )
       SELECT count(*)::int AS changed FROM part`,
      [bucket],
    );
    if (rows[0]!.changed === 0) return;
  }
}
