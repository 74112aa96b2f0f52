import { pipeline } from "node:stream/promises";
import type pg from "pg";
import type { Log } from "#platform/log.ts";
import { migrate, migrationNames } from "#platform/postgres/migrate.ts";
import { checkLog } from "./check-log.ts";
import { copyIn, openConnection, quoted } from "./copy.ts";
import type { Header, Table } from "./format.ts";
import { type Part, readBackup } from "./read-backup.ts";
import { resetLog } from "./reset-log.ts";

export interface LoadOptions {
  readonly file: string;
  /** The header of the checked file. */
  readonly header: Header;
  /** postgresql://… of a superuser, for an empty database. */
  readonly url: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Throws an error for operators when this version cannot restore the backup: it must be of this
 * version or an earlier one.
 */
export async function checkMigrations({ migrations }: Header): Promise<void> {
  const known = await migrationNames();
  const stranger = migrations.find((name, at) => name !== known[at]);
  if (stranger === undefined) return;
  throw new Error(
    `The backup is from another version of Lucky: it has the migration ${stranger}, and this version has migrations up to ${known.at(-1)}. Restore it with the version that wrote it, or a later one.`,
  );
}

/**
 * Loads a backup into an empty database: creates the tables of the backup's version, loads the rows,
 * applies later migrations, resets the log, and checks it unless the header says that it is damaged.
 * Memory does not grow with the backup.
 * Throws an error for operators; then the database is not usable.
 */
export async function loadBackup(options: LoadOptions): Promise<void> {
  const { file, header, url, log, signal } = options;
  await migrate({ url, log, count: header.migrations.length });
  const client = await openConnection(url, { name: "restore", signal });
  const parts = readBackup(file);
  try {
    await client.query("BEGIN");
    // The snapshot satisfied the foreign keys. Their triggers would queue one event per row in memory.
    await client.query("SET LOCAL session_replication_role = replica");
    await loadTables(client, parts, signal);
    await client.query(CONTINUE_SEQUENCES);
    await client.query("COMMIT");
    await migrate({ url, log });
    signal.throwIfAborted();
    await client.query("BEGIN");
    await resetLog(client);
    await client.query("COMMIT");
    if (header.damage === undefined) await checkLog(client);
    await client.query("ANALYZE");
  } finally {
    await parts.return();
    await client.end();
  }
}

async function loadTables(
  client: pg.Client,
  parts: AsyncGenerator<Part>,
  signal: AbortSignal,
): Promise<void> {
  for (let next = await parts.next(); !next.done; next = await parts.next()) {
    const part = next.value;
    if (part.kind === "table") await loadTable(client, { table: part.table, parts, signal });
  }
}

async function loadTable(
  client: pg.Client,
  options: {
    readonly table: Table;
    readonly parts: AsyncGenerator<Part>;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { table, parts, signal } = options;
  await deleteRows(client, table.table);
  const copy = copyIn(client, table);
  let expected = 0;
  async function* rows(): AsyncGenerator<Buffer, void, void> {
    for (;;) {
      const next = await parts.next();
      if (next.done) return;
      if (next.value.kind === "rows") yield next.value.bytes;
      if (next.value.kind !== "tableEnd") continue;
      expected = next.value.rows;
      return;
    }
  }
  await pipeline(rows, copy, { signal });
  if (copy.rowCount !== expected)
    throw new Error(`PostgreSQL stored ${copy.rowCount} of ${expected} rows of ${table.table}.`);
}

/** Deletes rows that a migration has inserted. The audit refuses the statement even without rows. */
async function deleteRows(client: pg.Client, table: string): Promise<void> {
  const { rows } = await client.query<{ filled: boolean }>(
    `SELECT EXISTS (SELECT FROM ${quoted(table)}) AS filled`,
  );
  if (rows[0]!.filled) await client.query(`DELETE FROM ${quoted(table)}`);
}

/** Identity columns continue after their highest value. */
const CONTINUE_SEQUENCES = `
  DO $$
  DECLARE c record;
  BEGIN
    FOR c IN SELECT table_schema, table_name, column_name FROM information_schema.columns
              WHERE is_identity = 'YES' AND table_schema IN ('auth', 'im') LOOP
      EXECUTE format(
        'SELECT setval(pg_get_serial_sequence(%L, %L), coalesce(max(%I), 0) + 1, false) FROM %I.%I',
        format('%I.%I', c.table_schema, c.table_name), c.column_name, c.column_name,
        c.table_schema, c.table_name);
    END LOOP;
  END $$`;
