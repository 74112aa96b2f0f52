import type { Readable, Writable } from "node:stream";
import pg from "pg";
import { from, to } from "pg-copy-streams";
import type { Table } from "./format.ts";

const CONNECT_TIMEOUT_MS = 5_000;
/** Silence after which TCP checks whether PostgreSQL is still there, ms. It gives up 10 s later. */
const KEEP_ALIVE_MS = 10_000;

/** Settings that the text of a value depends on, and no time-out for long statements. */
const SETTINGS = [
  "client_encoding=UTF8",
  "TimeZone=UTC",
  "DateStyle=ISO",
  "IntervalStyle=postgres",
  "bytea_output=hex",
  "statement_timeout=0",
  "idle_in_transaction_session_timeout=0",
  // Proves that no pooler dropped the settings.
  "lucky.direct=on",
];

/**
 * Connects for COPY and long statements. Rejects with the error of the driver. The caller ends the
 * connection; in the middle of a statement, that rolls its transaction back. So does the signal.
 */
export async function openConnection(
  url: string,
  { name, signal }: { readonly name: string; readonly signal?: AbortSignal },
): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    application_name: name,
    options: SETTINGS.map((setting) => `-c ${setting}`).join(" "),
  });
  // A lost connection fails the statement that uses it.
  client.on("error", () => {});
  await client.connect();
  signal?.addEventListener("abort", () => void client.end());
  return client;
}

/** The rows of a table in the text format of COPY. */
export function copyOut(client: pg.Client, table: Table): Readable {
  return quiet(client.query(to(`COPY ${target(table)} TO STDOUT`)));
}

/** The rows of a query in the text format of COPY. */
export function copyQuery(client: pg.Client, query: string): Readable {
  return quiet(client.query(to(`COPY (${query}) TO STDOUT`)));
}

/**
 * Stores rows in the text format of COPY. It has finished when PostgreSQL has stored them all, and
 * then knows their number.
 */
export function copyIn(client: pg.Client, table: Table): Writable & { readonly rowCount: number } {
  return quiet(client.query(from(`COPY ${target(table)} FROM STDIN`)));
}

/** A lost connection emits its error even when nothing uses the stream any more. */
function quiet<T extends Readable | Writable>(stream: T): T {
  stream.on("error", () => {});
  return stream;
}

/** The name of a table in a statement, from "schema.table". */
export function quoted(table: string): string {
  return table.split(".").map(pg.escapeIdentifier).join(".");
}

function target({ table, columns }: Table): string {
  return `${quoted(table)} (${columns.map(pg.escapeIdentifier).join(", ")})`;
}

/** Whether the connection or the server failed, not a statement or another stream. */
export function isConnectionLost(error: Error): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  if (error instanceof pg.DatabaseError) return code.startsWith("57");
  return /^Connection terminated/.test(error.message) || ["ECONNRESET", "EPIPE"].includes(code);
}
