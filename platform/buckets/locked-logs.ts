import { setTimeout } from "node:timers/promises";
import type pg from "pg";
import { openConnection } from "#platform/backup/copy.ts";
import { type DatabaseAddress, migrationNames } from "#platform/postgres/migrate.ts";
import { mustDiffer } from "./assign.ts";
import { BUCKETS } from "./bucket.ts";
import { readPlacement } from "./placement.ts";

/** Advisory lock that a command holds on each database while it moves buckets. */
const LOCK_ID = 7_265_005;

/** Interval between two attempts to lock a database, ms. */
const LOCK_RETRY_MS = 200;

/**
 * Statements find rows by index, from a bucket's conversations. A commit must be on the disk before
 * the other database depends on it.
 */
const SESSION = `
  SET enable_seqscan = off;
  SET enable_hashjoin = off;
  SET enable_mergejoin = off;
  SET jit = off;
  SELECT set_config('synchronous_commit', 'on', false)
   WHERE current_setting('synchronous_commit') IN ('off', 'local')`;

const INSPECT = `
  SELECT current_setting('lucky.direct', true) = 'on' AS direct, current_user AS role,
         (SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'im') AS owner,
         pg_is_in_recovery() AS standby`;

/** A database of the log, and a connection as its owner, which holds the lock of moves. */
export interface LockedLog {
  /** Place of its URL in the list, from 1. */
  readonly number: number;
  /** With the password: not for logs. */
  readonly url: string;
  readonly client: pg.Client;
}

/**
 * Connects to all databases of the log as the owner of the tables, and locks them against other moves.
 * Waits up to `waitMs` for each lock: PostgreSQL releases the lock of a killed process with a delay.
 * Rejects with an error for operators. The caller closes the databases.
 */
export async function lockLogs(
  addresses: readonly DatabaseAddress[],
  { waitMs = 3_000 }: { readonly waitMs?: number } = {},
): Promise<LockedLog[]> {
  const logs: LockedLog[] = [];
  try {
    for (const [at, address] of addresses.entries())
      logs.push({ number: at + 1, url: address.url, client: await connect(address) });
    for (const [at, { client }] of logs.entries()) await inspect(client, addresses[at]!);
    mustDiffer(await Promise.all(logs.map(({ client }) => readPlacement(client))));
    for (const log of logs) await lock(log, waitMs);
    return logs;
  } catch (error) {
    await closeLogs(logs);
    throw error;
  }
}

/** Ends the connections, and with them the locks. Never rejects. */
export async function closeLogs(logs: readonly LockedLog[]): Promise<void> {
  await Promise.all(logs.map(({ client }) => client.end().catch(() => {})));
}

/**
 * Runs work on a further connection to a locked database, because its own may be in the middle of a COPY
 * that nothing reads any more.
 */
export async function onFurtherConnection(
  { url }: LockedLog,
  work: (client: pg.Client) => Promise<void>,
): Promise<void> {
  const client = await openConnection(url, { name: "buckets" });
  try {
    await client.query(SESSION);
    await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The state of each bucket in a database. */
export async function readStates({ client }: Pick<LockedLog, "client">): Promise<number[]> {
  const { rows } = await client.query<{ bucket: number; state: number }>(
    "SELECT bucket, state FROM im.bucket",
  );
  const states = new Array<number>(BUCKETS).fill(0);
  for (const { bucket, state } of rows) states[bucket] = state;
  return states;
}

async function connect({ url, variable = "LUCKY_POSTGRES_URL" }: DatabaseAddress) {
  const client = await openConnection(url, { name: "buckets" }).catch((cause: Error) => {
    const text = `PostgreSQL (${variable}) cannot be reached: ${cause.message}`;
    throw new Error(text, { cause });
  });
  return client;
}

/** Rejects unless the connection is a direct one of the owner, to a migrated primary. */
async function inspect(
  client: pg.Client,
  { variable = "LUCKY_POSTGRES_URL" }: DatabaseAddress,
): Promise<void> {
  const { rows } = await client.query<{
    direct: boolean | null;
    role: string;
    owner: boolean | null;
    standby: boolean;
  }>(INSPECT);
  const { direct, role, owner, standby } = rows[0]!;
  const name = `PostgreSQL (${variable})`;
  if (!direct) throw new Error(`${name} is behind a pooler. Moving buckets needs its direct URL.`);
  if (standby)
    throw new Error(`${name} is a standby. Moving buckets needs the URL of the primary.`);
  if (owner === null) throw new Error(`${name} is not migrated. Run "npm run migrate" first.`);
  if (!owner)
    throw new Error(
      `${name}: "${role}" does not own Lucky's tables. Set LUCKY_MIGRATE_POSTGRES_LOG_URLS to the URLs of the owner.`,
    );
  const applied = await client.query<{ name: string }>("SELECT name FROM lucky.migration");
  const names = new Set(applied.rows.map((row) => row.name));
  const missing = (await migrationNames()).filter((migration) => !names.has(migration));
  if (missing.length > 0)
    throw new Error(
      `${name} lacks migrations: ${missing.join(", ")}. Run "npm run migrate" first.`,
    );
  await client.query(SESSION);
}

async function lock({ number, client }: LockedLog, waitMs: number): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += LOCK_RETRY_MS) {
    const { rows } = await client.query<{ locked: boolean }>(
      "SELECT pg_try_advisory_lock($1) AS locked",
      [LOCK_ID],
    );
    if (rows[0]!.locked) return;
    if (waitedMs >= waitMs)
      throw new Error(
        `Another process is moving buckets: it has locked database ${number}. Wait until it ends.`,
      );
    await setTimeout(LOCK_RETRY_MS);
  }
}
