import pg from "pg";
import type { DatabaseAddress } from "#platform/postgres/migrate.ts";
import { BUCKETS } from "./bucket.ts";
import { BucketState, type Placement, readPlacement } from "./placement.ts";

/** Advisory lock on the first database: concurrent starts assign the buckets once. */
const LOCK_ID = 7_265_004;

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Assigns all buckets evenly to the databases of a new log: no database has a conversation, and each has
 * no bucket or exactly its share, which a crash between two commits leaves behind. Changes nothing
 * otherwise: an operator moves buckets to a further database. All databases are migrated. Rejects with
 * an error for operators when one cannot be reached, when two addresses are of one database, when the
 * buckets must be assigned but a user is not the owner of the tables, and when `home`, which had the
 * only log until now, still has buckets. Then no database has got any.
 */
export async function assignBuckets(
  addresses: readonly DatabaseAddress[],
  home?: DatabaseAddress,
): Promise<void> {
  const clients: pg.Client[] = [];
  try {
    for (const address of addresses) clients.push(await connect(address));
    const [first] = clients;
    await first!.query("BEGIN");
    await first!.query("SELECT pg_advisory_xact_lock($1)", [LOCK_ID]);
    const placements = await Promise.all(clients.map(readPlacement));
    mustDiffer(placements);
    const lacking = lackingIn(placements);
    if (lacking.length === 0 || (lacking.length < clients.length && (await hasAny(clients))))
      return;
    if (home !== undefined && !addresses.includes(home)) await mustBeEmpty(home);
    for (const at of lacking) {
      if (at > 0) await clients[at]!.query("BEGIN");
      await assign(clients[at]!, at, clients.length);
    }
    // The first one last: its lock is held until all have committed.
    for (const client of clients.toReversed()) await client.query("COMMIT");
  } finally {
    // Ends the transactions that have not committed.
    for (const client of clients) await client.end().catch(() => {});
  }
}

/**
 * Indexes of the databases without a bucket, if each of the others has exactly its share. Otherwise
 * none.
 */
function lackingIn(placements: readonly Placement[]): number[] {
  const count = placements.length;
  const isEmpty = ({ here, moving }: Placement) => here.length + moving.length === 0;
  const hasShare = ({ here, moving }: Placement, at: number) => {
    const { from, to } = shareOf(at, count);
    return (
      moving.length === 0 && here.length === to - from && here[0] === from && here.at(-1) === to - 1
    );
  };
  if (!placements.every((one, at) => isEmpty(one) || hasShare(one, at))) return [];
  return [...placements.keys()].filter((at) => isEmpty(placements[at]!));
}

/** Whether a database has a conversation. */
async function hasAny(clients: readonly pg.Client[]): Promise<boolean> {
  const found = await Promise.all(
    clients.map((client) => client.query("SELECT FROM im.conversation LIMIT 1")),
  );
  return found.some(({ rowCount }) => rowCount === 1);
}

/** Throws an error for operators when two placements are of one database. */
export function mustDiffer(placements: readonly Placement[]): void {
  const ids = placements.map(({ databaseId }) => databaseId);
  const second = ids.findIndex((id, at) => ids.indexOf(id) !== at);
  if (second < 0) return;
  const first = ids.indexOf(ids[second]!);
  throw new Error(
    `LUCKY_POSTGRES_LOG_URLS names one database twice: URL ${first + 1} and URL ${second + 1}. ` +
      "Remove one of them.",
  );
}

/** Rejects when the home database, which is not in the list, still has buckets. */
async function mustBeEmpty(home: DatabaseAddress): Promise<void> {
  const client = await connect(home);
  try {
    const { here, moving } = await readPlacement(client);
    if (here.length + moving.length === 0) return;
    throw new Error(
      `The database of ${home.variable} still has the conversations. Name it in LUCKY_POSTGRES_LOG_URLS as ` +
        "well. To empty it, move all of its buckets with npm run buckets, then remove it from the list.",
    );
  } catch (error) {
    throw ownerNeeded(error) ?? error;
  } finally {
    await client.end().catch(() => {});
  }
}

/** The share of a database: one range, without its end. */
function shareOf(at: number, count: number): { readonly from: number; readonly to: number } {
  return {
    from: Math.ceil((at * BUCKETS) / count),
    to: Math.ceil(((at + 1) * BUCKETS) / count),
  };
}

/** Gives a database its share of all buckets. */
async function assign(client: pg.Client, at: number, count: number): Promise<void> {
  const { from, to } = shareOf(at, count);
  try {
    await client.query("UPDATE im.bucket SET state = $1 WHERE bucket >= $2 AND bucket < $3", [
      BucketState.HERE,
      from,
      to,
    ]);
  } catch (error) {
    throw ownerNeeded(error) ?? error;
  }
}

/** The error for operators when PostgreSQL denied permission; undefined for other causes. */
function ownerNeeded(cause: unknown): Error | undefined {
  if (!(cause instanceof pg.DatabaseError) || cause.code !== "42501") return undefined;
  return new Error(
    'No database has any bucket of conversations yet. Run "npm run migrate" as the owner of the ' +
      "tables, then start again.",
    { cause },
  );
}

async function connect({ url, variable }: DatabaseAddress): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  await client.connect().catch((cause: Error) => {
    const text = `PostgreSQL (${variable ?? "LUCKY_POSTGRES_URL"}) cannot be reached: ${cause.message}`;
    throw new Error(text, { cause });
  });
  return client;
}
