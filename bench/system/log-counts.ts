import { readFileSync } from "node:fs";
import pg from "pg";

/** What the log holds. */
export interface LogCounts {
  readonly rows: number;
  /** Sum of the conversations' last sequences: as many as rows, if there is no gap. */
  readonly sequences: number;
  readonly outbox: number;
}

export async function readLogCounts(url: string): Promise<LogCounts> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query(`
      SELECT (SELECT count(*) FROM im.entry)::float8 AS rows,
             (SELECT coalesce(sum(last_sequence), 0) FROM im.conversation)::float8 AS sequences,
             (SELECT count(*) FROM im.outbox)::float8 AS outbox`);
    return rows[0] as LogCounts;
  } finally {
    await client.end();
  }
}

/** How many rows of the outbox there are: cheaper to ask again and again. */
export async function countOutbox(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query("SELECT count(*)::float8 AS rows FROM im.outbox");
    return Number(rows[0].rows);
  } finally {
    await client.end();
  }
}

/**
 * Members who have not acknowledged what others wrote last, in conversations that changed since a time
 * (milliseconds since the Unix epoch).
 */
export async function countCursorsBehind(url: string, sinceMs: number): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query(
      `SELECT count(*)::float8 AS behind
         FROM im.member m JOIN im.conversation c USING (conversation_id)
        WHERE c.updated_at_ms >= $1
          AND EXISTS (SELECT FROM im.entry e
                       WHERE e.conversation_id = m.conversation_id
                         AND e.sequence > m.delivered_sequence AND e.sender_id <> m.user_id)`,
      [sinceMs],
    );
    return Number(rows[0].behind);
  } finally {
    await client.end();
  }
}

/** The process id of a PostgreSQL of this machine: all its other processes are children of that one. */
export async function findPostmaster(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
    const status = readFileSync(`/proc/${rows[0].pid}/status`, "utf8");
    return Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
  } finally {
    await client.end();
  }
}
