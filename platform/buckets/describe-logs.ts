import { openConnection } from "#platform/backup/copy.ts";
import type { DatabaseAddress } from "#platform/postgres/migrate.ts";
import { readStates } from "./locked-logs.ts";

/** A database of the log, for operators. */
export interface LogDescription {
  /** Host, port and name, without user and password. */
  readonly address: string;
  /** The state of each bucket; undefined when the database cannot be read. */
  readonly states?: readonly number[];
  /** Number of conversations; an estimate of PostgreSQL when there are many. */
  readonly conversations?: number;
  /** Why the database cannot be read. */
  readonly fault?: string;
}

/** Maximum conversations that are counted; above it, the estimate of PostgreSQL is read. */
const COUNTED = 100_000;

const COUNT = `
  SELECT CASE WHEN reltuples > ${COUNTED} THEN reltuples::bigint
              ELSE (SELECT count(*) FROM im.conversation) END AS conversations
    FROM pg_class WHERE oid = 'im.conversation'::regclass`;

/** Reads the buckets of each database. A database that cannot be read has a `fault` instead. */
export function describeLogs(addresses: readonly DatabaseAddress[]): Promise<LogDescription[]> {
  return Promise.all(addresses.map(describe));
}

async function describe({ url }: DatabaseAddress): Promise<LogDescription> {
  const { host, pathname } = new URL(url);
  const address = `${host}${decodeURIComponent(pathname)}`;
  try {
    const client = await openConnection(url, { name: "buckets" });
    try {
      const states = await readStates({ client });
      const { rows } = await client.query<{ conversations: string }>(COUNT);
      return { address, states, conversations: Number(rows[0]!.conversations) };
    } finally {
      await client.end().catch(() => {});
    }
  } catch (error) {
    return { address, fault: (error as Error).message };
  }
}
