import type pg from "pg";

/** The bucket of a key in SQL: the first ten bits of its SHA-256; see bucket.ts. */
const bucketOf = (key: string) =>
  `(SELECT (get_byte(h.hash, 0) << 2) | (get_byte(h.hash, 1) >> 6) FROM (SELECT sha256(${key}) AS hash) h)`;

/** Direct conversations and groups whose id and key have different buckets, one of them in $1. */
const SELECT_MISMATCHED = `
  SELECT count(*)::int AS count
    FROM (SELECT conversation_id & 1023 AS id, ${bucketOf("int8send(low_user_id) || int8send(high_user_id)")} AS key
            FROM im.direct
           UNION ALL
          SELECT conversation_id & 1023, ${bucketOf("int8send(creator_id) || convert_to(client_group_id, 'UTF8')")}
            FROM im.group_key) b
   WHERE id <> key AND (id = ANY ($1::bigint[]) OR key = ANY ($1::bigint[]))`;

/**
 * Throws an error for operators when a move of the buckets would separate a conversation from its
 * key: the pair of users, or the creator and the client_group_id. Earlier versions chose ids
 * without a bucket. Reads all pairs and keys.
 */
export async function mustMatchPairs(client: pg.Client, buckets: readonly number[]): Promise<void> {
  const { rows } = await client.query<{ count: number }>(SELECT_MISMATCHED, [buckets]);
  const { count } = rows[0]!;
  if (count === 0) return;
  throw new Error(
    `${count} conversations of an earlier version of Lucky cannot be moved: their ids do not have the bucket of their users or of their client_group_id. Nothing was moved.`,
  );
}
