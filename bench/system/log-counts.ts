import { readFileSync } from "node:fs";
import pg from "pg";

/** Sums over the databases of the log. */
export interface LogCounts {
  readonly rows: number;
  /** Sum of the conversations' last sequences; equal to `rows` if there is no gap. */
  readonly sequences: number;
  readonly outbox: number;
}

export async function readLogCounts(urls: readonly string[]): Promise<LogCounts> {
  const counts = await queryAll<LogCounts>(
    urls,
    `SELECT (SELECT count(*) FROM im.entry)::float8 AS rows,
            (SELECT coalesce(sum(last_sequence), 0) FROM im.conversation)::float8 AS sequences,
            (SELECT count(*) FROM im.outbox)::float8 AS outbox`,
  );
  const sum = (name: keyof LogCounts) => counts.reduce((total, row) => total + row[name], 0);
  return { rows: sum("rows"), sequences: sum("sequences"), outbox: sum("outbox") };
}

/** Number of outbox rows; cheap enough for polling. */
export async function countOutbox(urls: readonly string[]): Promise<number> {
  const counts = await queryAll<{ rows: number }>(
    urls,
    "SELECT count(*)::float8 AS rows FROM im.outbox",
  );
  return counts.reduce((total, { rows }) => total + rows, 0);
}

/** Number of entries of each kind, in the order of `kinds`, which are numbers of `kindNumber`. */
export async function readKindCounts(
  urls: readonly string[],
  kinds: readonly number[],
): Promise<number[]> {
  const counts = await queryAll<{ counts: number[] }>(
    urls,
    `SELECT array_agg((SELECT count(*)::float8 FROM im.entry e WHERE e.kind = k.kind) ORDER BY k.nr) AS counts
       FROM unnest($1::smallint[]) WITH ORDINALITY AS k(kind, nr)`,
    [kinds],
  );
  return kinds.map((_, nth) => counts.reduce((sum, row) => sum + row.counts[nth]!, 0));
}

/** Number of rows of each table of the log, by name. */
export async function readTableRows(urls: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const tables = await queryAll<{ names: string[] }>(
    urls.slice(0, 1),
    `SELECT array_agg(relname::text) AS names FROM pg_class
      WHERE relnamespace = 'im'::regnamespace AND relkind = 'r'`,
  );
  const names = tables[0]!.names;
  const counts = await queryAll<{ rows: number[] }>(
    urls,
    `SELECT ARRAY[${names.map((name) => `(SELECT count(*)::float8 FROM im.${name})`).join(", ")}] AS rows`,
  );
  return new Map(
    names.map((name, nth) => [name, counts.reduce((sum, { rows }) => sum + rows[nth]!, 0)]),
  );
}

/** The first row of a query in each database. */
async function queryAll<R extends pg.QueryResultRow>(
  urls: readonly string[],
  text: string,
  values: unknown[] = [],
): Promise<R[]> {
  const rows: R[] = [];
  for (const url of urls) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      rows.push((await client.query<R>(text, values)).rows[0]!);
    } finally {
      await client.end();
    }
  }
  return rows;
}

/**
 * Number of members who have not acknowledged the last entry of the other members, in conversations that
 * changed since a time (milliseconds since the Unix epoch).
 */
export async function countCursorsBehind(
  urls: readonly string[],
  sinceMs: number,
): Promise<number> {
  const counts = await queryAll<{ behind: number }>(
    urls,
    `SELECT count(*)::float8 AS behind
       FROM im.conversation c
       JOIN im.entry l ON (l.conversation_id, l.sequence) = (c.conversation_id, c.last_sequence)
       JOIN im.member m ON m.conversation_id = c.conversation_id
      WHERE l.accepted_at_ms >= $1
        AND EXISTS (SELECT FROM im.entry e
                     WHERE e.conversation_id = m.conversation_id
                       AND e.sequence > m.delivered_sequence AND e.sender_id <> m.user_id)`,
    [sinceMs],
  );
  return counts.reduce((total, { behind }) => total + behind, 0);
}

/** Process id of the main process of a PostgreSQL on this machine, the parent of its other processes. */
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
