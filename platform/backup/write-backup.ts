import { createHash, randomBytes } from "node:crypto";
import { access, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import type pg from "pg";
import { findDamage } from "./check-log.ts";
import { copyOut, isConnectionLost, openConnection } from "./copy.ts";
import {
  countLines,
  END_OF_ROWS,
  encodeLine,
  FORMAT,
  type Footer,
  type Header,
  type Table,
  VERSION,
} from "./format.ts";

export interface WriteOptions {
  /** postgresql://… of the owner of the tables. */
  readonly url: string;
  /** Path of the backup. It must not exist. */
  readonly file: string;
  /** Identifies the key-encryption key; empty when it is not known. */
  readonly keyFingerprint: string;
  readonly signal: AbortSignal;
}

/** A written backup. */
export interface Written {
  readonly header: Header;
  readonly footer: Footer;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * The tables and columns of a backup. It omits data that is useless in another cluster: the
 * news of the sweep, transaction ids, and the list of migrations, which the header has. A table that
 * a later migration adds is in the backup.
 *
 * The outbox is in it: its batches may not have been published yet, and a batch that is published
 * twice is harmless. So are the worker numbers: their leases end by themselves, and the times that
 * they reserved for ids keep new ids unique when the clock of the next machine is behind.
 */
const SELECT_TABLES = `
  SELECT t.table_schema || '.' || t.table_name AS table, c.columns
    FROM information_schema.tables t
   CROSS JOIN LATERAL (
     SELECT array_agg(column_name::text ORDER BY ordinal_position) AS columns
       FROM information_schema.columns
      WHERE table_schema = t.table_schema AND table_name = t.table_name
        AND udt_name <> 'xid8' AND is_generated = 'NEVER') c
   WHERE t.table_type = 'BASE TABLE' AND t.table_schema IN ('lucky', 'auth', 'im')
     AND (t.table_schema, t.table_name) NOT IN (
       ('lucky', 'migration'), ('im', 'news'), ('im', 'news_floor'))
   ORDER BY 1`;

/**
 * Writes a backup of one snapshot of the database, while services may use it, in constant memory. The
 * file appears complete and flushed, or not at all, and only its owner may read it. Its header says
 * when the log is damaged. Throws an error for operators when the file exists, or when reading or
 * writing fails.
 */
export async function writeBackup(options: WriteOptions): Promise<Written> {
  const { url, file, keyFingerprint, signal } = options;
  if (await exists(file))
    throw new Error(`${file} exists. Choose another name: a backup replaces no file.`);
  const unfinished = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString("hex")}`);
  const client = await openConnection(url, { name: "backup", signal });
  try {
    // One transaction reads one snapshot in all of its statements.
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const damage = await findDamage(client);
    const header = {
      ...(await readHeader(client, keyFingerprint)),
      ...(damage.length > 0 && { damage }),
    };
    const { rows: tables } = await client.query<Table>(SELECT_TABLES);
    const content = new Content(client, header, tables);
    // The backup contains hashes of passwords: only its owner may read it.
    const target = await open(unfinished, "wx", 0o600);
    await pipeline(
      content.chunks(),
      createGzip({ level: constants.Z_BEST_SPEED }),
      target.createWriteStream({ flush: true }),
      { signal },
    );
    await rename(unfinished, file);
    await flushFolder(dirname(file));
    return { header, footer: content.footer, bytes: (await stat(file)).size };
  } catch (error) {
    await rm(unfinished, { force: true });
    signal.throwIfAborted();
    throw explained(error as Error, file);
  } finally {
    await client.end();
  }
}

async function readHeader(client: pg.Client, keyFingerprint: string): Promise<Header> {
  const { rows } = await client.query<{ name: string; now: Date }>(
    "SELECT name, now() AS now FROM lucky.migration ORDER BY id",
  );
  return {
    format: FORMAT,
    version: VERSION,
    takenAt: rows[0]!.now.toISOString(),
    migrations: rows.map(({ name }) => name),
    keyFingerprint,
  };
}

/** The content of a backup, uncompressed. */
class Content {
  readonly #client: pg.Client;
  readonly #header: Header;
  readonly #tables: readonly Table[];
  readonly #hash = createHash("sha256");
  readonly #rows: Record<string, number> = {};
  /** Complete when all chunks were read. */
  footer: Footer = { rows: {}, sha256: "" };

  constructor(client: pg.Client, header: Header, tables: readonly Table[]) {
    this.#client = client;
    this.#header = header;
    this.#tables = tables;
  }

  async *chunks(): AsyncGenerator<Buffer, void, void> {
    yield this.#hashed(encodeLine(this.#header));
    for (const table of this.#tables) {
      yield this.#hashed(encodeLine(table));
      let rows = 0;
      for await (const chunk of copyOut(this.#client, table)) {
        rows += countLines(chunk);
        yield this.#hashed(chunk);
      }
      this.#rows[table.table] = rows;
      yield this.#hashed(END_OF_ROWS);
    }
    this.footer = { rows: this.#rows, sha256: this.#hash.digest("hex") };
    yield encodeLine(this.footer);
  }

  #hashed(bytes: Buffer): Buffer {
    this.#hash.update(bytes);
    return bytes;
  }
}

/** Makes the new name of a file survive a power failure. */
async function flushFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Names the file in an error of the file system, and explains a lost connection. */
function explained(error: Error, file: string): Error {
  const { syscall } = error as NodeJS.ErrnoException;
  if (isConnectionLost(error))
    return new Error(`PostgreSQL stopped before the backup was complete: ${error.message}.`, {
      cause: error,
    });
  if (syscall === undefined) return error;
  return new Error(`The backup ${file} cannot be written: ${error.message}.`, { cause: error });
}
