import pg from "pg";
import type { DatabaseAddress } from "#platform/postgres/migrate.ts";
import { BUCKETS } from "./bucket.ts";
import { BucketState, type Placement, readPlacement } from "./placement.ts";

/** Advisory lock on the first database: processes that start at the same time assign once. */
const LOCK_ID = 7_265_004;

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Assigns all buckets evenly to the databases when none of them has any. Changes nothing otherwise: an
 * operator moves buckets to a further database. All databases are migrated. Rejects with an error for
 * operators when one cannot be reached, when two addresses are of one database, when the buckets must
 * be assigned but a user is not the owner of the tables, and when `home`, which had the only log until
 * now, still has buckets.
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
    const isNew = placements.every(({ here, moving }) => here.length + moving.length === 0);
    if (isNew && home !== undefined && !addresses.includes(home)) await mustBeEmpty(home);
    if (isNew)
      for (const [at, client] of clients.entries()) await assign(client, at, clients.length);
    await first!.query("COMMIT");
  } finally {
    for (const client of clients) await client.end().catch(() => {});
  }
}

/** Throws an error for operators when two placements are of one database. */
export function mustDiffer(placements: readonly Placement[]): void {
  const ids = placements.map(({ databaseId }) => databaseId);
  const second = ids.findIndex((id, at) => ids.indexOf(id) !== at);
  if (second < 0) return;
  const first = ids.indexOf(ids[second]!);
  throw new Error(
    `LUCKY_POSTGRES_LOG_URLS names one database twice: URL ${first + 1} and URL ${second + 1}.`,
  );
}

/** Rejects when the home database, which is not in the list, has conversations that would be lost. */
async function mustBeEmpty(home: DatabaseAddress): Promise<void> {
  const client = await connect(home);
  try {
    const { here, moving } = await readPlacement(client);
    if (here.length + moving.length === 0) return;
    throw new Error(
      `The database of ${home.variable} has the conversations until now. Name it in LUCKY_POSTGRES_LOG_URLS, ` +
        "too. You can then move all of its buckets with npm run buckets, and remove it from the list.",
    );
  } catch (error) {
    throw ownerNeeded(error) ?? error;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Gives a database its share of all buckets, as one range. */
async function assign(client: pg.Client, at: number, count: number): Promise<void> {
  try {
    await client.query("UPDATE im.bucket SET state = $1 WHERE bucket >= $2 AND bucket < $3", [
      BucketState.HERE,
      Math.ceil((at * BUCKETS) / count),
      Math.ceil(((at + 1) * BUCKETS) / count),
    ]);
  } catch (error) {
    throw ownerNeeded(error) ?? error;
  }
}

/** The error for operators when PostgreSQL has refused a user. */
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
