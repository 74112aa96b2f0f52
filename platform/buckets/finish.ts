import type pg from "pg";
import { pages } from "./entry-copy.ts";
import { IN_BUCKET, type MovedTables } from "./moved-tables.ts";
import { BucketState } from "./placement.ts";
import { removeUnpublished } from "./unpublished.ts";

/** Rows of im.entry in one transaction. */
const CHUNK_ENTRIES = 20_000;
/** Conversations in one transaction; appends to them wait for it. */
const CHUNK_CONVERSATIONS = 1_000;

/**
 * Changes the sign of the member versions of a bucket. Conversations are locked in the order of their
 * ids, as in the append, which prevents deadlocks.
 */
export async function flipVersions(
  client: pg.Client,
  { bucket, to }: { readonly bucket: number; readonly to: "negative" | "positive" },
): Promise<void> {
  let after: string | null = "-1";
  while (after !== null) {
    const { rows }: pg.QueryResult<{ last: string | null }> = await client.query(
      `WITH page AS MATERIALIZED (
         SELECT conversation_id FROM im.conversation
          WHERE ${IN_BUCKET} AND conversation_id > $2
          ORDER BY conversation_id LIMIT $3 FOR NO KEY UPDATE
       ), flipped AS (
         UPDATE im.conversation c SET member_version = -member_version
           FROM page p
          WHERE c.conversation_id = p.conversation_id
            AND member_version ${to === "negative" ? ">" : "<"} 0
       )
       SELECT max(conversation_id) AS last FROM page`,
      [bucket, after, CHUNK_CONVERSATIONS],
    );
    after = rows[0]!.last;
  }
}

/**
 * Deletes the rows of a bucket that another database has now. The state stays "moving" until all are
 * deleted, so that an interrupted clean-up can be resumed. The conversations are deleted last, because
 * the other rows are found by their ids.
 */
export async function cleanUp(
  client: pg.Client,
  options: { readonly bucket: number; readonly tables: MovedTables; readonly signal: AbortSignal },
): Promise<void> {
  const { bucket, tables, signal } = options;
  await removeUnpublished(client, bucket);
  const [conversation, ...others] = tables.others.map(({ table }) => table);
  // The reverse order of the inserts: a table may refer to an earlier one.
  others.reverse();
  // Members first: statements by user find them.
  for await (const ids of chunks(client, bucket)) {
    signal.throwIfAborted();
    for (const table of others)
      await client.query(`DELETE FROM ${table} WHERE conversation_id = ANY ($1::bigint[])`, [ids]);
  }
  for await (const ids of chunks(client, bucket)) {
    await deleteEntries(client, ids, signal);
    await client.query(`DELETE FROM ${conversation} WHERE conversation_id = ANY ($1::bigint[])`, [
      ids,
    ]);
  }
  await client.query(
    `UPDATE im.bucket SET state = ${BucketState.ELSEWHERE}
      WHERE bucket = $1 AND state = ${BucketState.MOVING}`,
    [bucket],
  );
}

/** Rolls back a move at the source, before its switch: the bucket accepts writes again. */
export async function rollBack(source: pg.Client, bucket: number): Promise<void> {
  await flipVersions(source, { bucket, to: "positive" });
  await source.query(
    `UPDATE im.bucket SET state = ${BucketState.HERE}
      WHERE bucket = $1 AND state = ${BucketState.MOVING}`,
    [bucket],
  );
}

/** Deletes the copied entries of a move that was rolled back, by the ids in the bucket's owner. */
export async function deleteCopied(
  target: pg.Client,
  options: { readonly owner: pg.Client; readonly bucket: number; readonly signal: AbortSignal },
): Promise<void> {
  const { owner, bucket, signal } = options;
  for await (const ids of chunks(owner, bucket)) await deleteEntries(target, ids, signal);
  await target.query(
    `UPDATE im.bucket SET state = ${BucketState.ELSEWHERE}
      WHERE bucket = $1 AND state = ${BucketState.ARRIVING}`,
    [bucket],
  );
}

/** The ids of a bucket's conversations, in chunks. */
async function* chunks(client: pg.Client, bucket: number): AsyncGenerator<string[], void, void> {
  for await (const page of pages(client, bucket))
    for (let at = 0; at < page.length; at += CHUNK_CONVERSATIONS)
      yield page.slice(at, at + CHUNK_CONVERSATIONS).map(({ id }) => id);
}

/** Deletes the entries of conversations in transactions of bounded size. */
async function deleteEntries(
  client: pg.Client,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { rowCount } = await client.query(
      `DELETE FROM im.entry WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM im.entry WHERE conversation_id = ANY ($1::bigint[]) LIMIT $2))`,
      [ids, CHUNK_ENTRIES],
    );
    if ((rowCount ?? 0) < CHUNK_ENTRIES) return;
  }
}
