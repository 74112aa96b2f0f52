import type pg from "pg";

/**
 * Raises the epochs of all buckets. The time in milliseconds makes the epochs of two restores of one
 * backup differ; the increment makes an epoch rise when the clock was set back.
 */
const RAISE_EPOCHS = `
  INSERT INTO im.bucket (bucket, epoch)
  SELECT n, floor(extract(epoch FROM now()) * 1000)::bigint
    FROM generate_series(0, 1023) AS n
  ON CONFLICT (bucket) DO UPDATE SET epoch = greatest(im.bucket.epoch + 1, excluded.epoch)`;

/** The epoch of the database rises in the same way, and with it its history. */
const RAISE_HISTORY = `
  UPDATE im.database
     SET epoch = greatest(epoch + 1, floor(extract(epoch FROM now()) * 1000)::bigint)`;

/** A row of a transaction that this cluster has not started yet: Sync would return it each time. */
const AHEAD = (table: string) => `
  UPDATE ${table} SET changed_by = pg_current_xact_id() WHERE changed_by > pg_current_xact_id()`;

/** Changes that a reset made. */
export interface LogReset {
  /** Rows whose transaction id was ahead of the cluster's. */
  readonly conversations: number;
  readonly members: number;
}

/**
 * Marks the log as reset, after its tables were restored from an earlier state: raises the epochs,
 * gives rows of later transactions an id of this cluster, and deletes the news of the sweep. The
 * caller has begun a transaction, and no service uses the database.
 */
export async function resetLog(client: pg.Client): Promise<LogReset> {
  await client.query(RAISE_EPOCHS);
  await client.query(RAISE_HISTORY);
  const conversations = await client.query(AHEAD("im.conversation"));
  const members = await client.query(AHEAD("im.member"));
  await client.query("DELETE FROM im.news");
  await client.query(`
    INSERT INTO im.news_floor (floor) VALUES (pg_current_xact_id())
    ON CONFLICT (one_row) DO UPDATE SET floor = excluded.floor`);
  return { conversations: conversations.rowCount ?? 0, members: members.rowCount ?? 0 };
}
