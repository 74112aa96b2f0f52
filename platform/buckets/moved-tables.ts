import type pg from "pg";
import type { Table } from "#platform/backup/format.ts";

/**
 * Tables whose rows do not belong to one conversation each. Parts of im.outbox and im.news are moved
 * separately; see unpublished.ts.
 */
const OF_DATABASE: ReadonlySet<string> = new Set([
  "im.bucket",
  "im.database",
  "im.dead_letter",
  "im.news",
  "im.news_floor",
  "im.outbox",
]);

/** Condition for rows of im.conversation in the bucket $1; the index of a move matches it. */
export const IN_BUCKET = "(conversation_id & 1023) = $1::bigint";

/**
 * All tables with the columns that a move copies. Transaction ids are left out: the defaults of their
 * columns set ids of the target, so that the rows count as changed.
 */
const SELECT_TABLES = `
  SELECT t.table_schema || '.' || t.table_name AS table, c.columns
    FROM information_schema.tables t
   CROSS JOIN LATERAL (
     SELECT array_agg(column_name::text ORDER BY column_name) AS columns
       FROM information_schema.columns
      WHERE table_schema = t.table_schema AND table_name = t.table_name
        AND udt_name <> 'xid8' AND is_generated = 'NEVER') c
   WHERE t.table_type = 'BASE TABLE' AND t.table_schema = 'im'
   ORDER BY t.table_name <> 'conversation', 1`;

/** The tables with rows of conversations. */
export interface MovedTables {
  readonly entries: Table;
  /** All but the entries: im.conversation first, to which the others refer. */
  readonly others: readonly Table[];
}

/**
 * Reads the tables with rows of conversations: those with a column conversation_id. Throws an error
 * when another table is not listed in OF_DATABASE.
 */
export async function readTables(client: pg.Client): Promise<MovedTables> {
  const { rows } = await client.query<Table>(SELECT_TABLES);
  const tables = rows.filter(({ table }) => !OF_DATABASE.has(table));
  const unlisted = tables.find(({ columns }) => !columns.includes("conversation_id"));
  if (unlisted !== undefined)
    throw new Error(
      `The table ${unlisted.table} has no conversation_id and is not listed in platform/buckets/moved-tables.ts. Nothing was moved.`,
    );
  return {
    entries: tables.find(({ table }) => table === "im.entry")!,
    others: tables.filter(({ table }) => table !== "im.entry"),
  };
}

/** Throws an error unless both databases have the same tables and columns. */
export function mustMatch(a: MovedTables, b: MovedTables): void {
  if (JSON.stringify(a) === JSON.stringify(b)) return;
  throw new Error('The databases have different tables. Run "npm run migrate" first.');
}

const INDEX_SUFFIX = "_moving";

/** Indexes that moves need, with whether they are complete. */
const SELECT_INDEXES = `
  SELECT n.nspname || '.' || c.relname AS name, i.indisvalid AS valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'im' AND c.relname LIKE '%\\${INDEX_SUFFIX}'`;

/** Whether an index of the table $1 starts with the conversation. */
const HAS_INDEX = `
  SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
   WHERE i.indrelid = $1::regclass AND a.attname = 'conversation_id' AND i.indisvalid
     AND i.indpred IS NULL`;

/**
 * Creates the indexes that only moves need, without blocking writers: conversations by bucket, and
 * rows by conversation in tables with other keys. Without them, the foreign-key check of each deleted
 * conversation would scan such a table.
 */
export async function createIndexes(client: pg.Client, { others }: MovedTables): Promise<void> {
  await dropIndexes(client, { onlyInvalid: true });
  const create = (table: string, columns: string) =>
    client.query(
      `CREATE INDEX CONCURRENTLY IF NOT EXISTS ${table.slice(3)}${INDEX_SUFFIX} ON ${table} (${columns})`,
    );
  await create("im.conversation", "(conversation_id & 1023), conversation_id");
  for (const { table } of others) {
    const { rowCount } = await client.query(HAS_INDEX, [table]);
    if (rowCount === 0) await create(table, "conversation_id");
  }
}

/** Drops the indexes of moves. */
export async function dropIndexes(
  client: pg.Client,
  { onlyInvalid = false }: { readonly onlyInvalid?: boolean } = {},
): Promise<void> {
  const { rows } = await client.query<{ name: string; valid: boolean }>(SELECT_INDEXES);
  for (const { name, valid } of rows)
    if (!onlyInvalid || !valid) await client.query(`DROP INDEX CONCURRENTLY ${name}`);
}
