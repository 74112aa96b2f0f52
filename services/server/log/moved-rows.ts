import { BUCKETS, bucketOf } from "#platform/buckets/bucket.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import type { Database, Statement, Value } from "./database.ts";
import { type Logs, throwFirst } from "./logs.ts";

/** Selects whether the bucket of a conversation is moving from the database. */
export const isMoving = (conversationId: string) =>
  `(SELECT b.state = ${BucketState.MOVING} FROM im.bucket b
     WHERE b.bucket = (${conversationId} & 1023)::smallint)`;

/** A row of a statement that runs in every database. */
export interface ConversationRow {
  readonly conversation_id: string;
  /** Whether the bucket is moving from the database; absent: no. */
  readonly moving?: boolean;
}

/**
 * Returns a function that tells whether a row of a database is obsolete: its bucket has moved to another
 * database, and the rows before the move are not deleted yet. Reads the places of the buckets when rows
 * are moving. Never rejects.
 */
export async function obsoleteRows(
  logs: Logs,
  found: readonly { readonly db: Database; readonly rows: readonly ConversationRow[] }[],
): Promise<(db: Database, row: ConversationRow) => boolean> {
  const placeOf = ({ conversation_id }: ConversationRow) => logs.peek(bucketOf(conversation_id));
  const isObsolete = (db: Database, row: ConversationRow) => {
    if (!row.moving) return false;
    const place = placeOf(row);
    return place !== undefined && place !== db;
  };
  if (found.some(({ db, rows }) => rows.some((row) => row.moving && !isObsolete(db, row))))
    await logs.reread();
  return isObsolete;
}

/** A statement by user, alone and with the buckets of the database in the same snapshot. */
export interface ByUser {
  readonly plain: Statement;
  readonly withBuckets: Statement;
}

/**
 * Adds one row with the buckets of the database to a statement with these bigint columns. The row has the
 * sum of the cubes of the buckets that are here, as a fingerprint, and the numbers of the buckets that are
 * moving away. It costs a quarter of a row with the states of all buckets.
 */
export function byUser(plain: Statement, columns: readonly string[]): ByUser {
  const nulls = columns.map((column) => `NULL::bigint AS ${column}`).join(", ");
  const text = `
    SELECT ${nulls},
           (SELECT coalesce(sum(b.bucket::integer * b.bucket * b.bucket)
                              FILTER (WHERE b.state = ${BucketState.HERE}), 0)
                   || ':' || coalesce(string_agg(b.bucket::text, ',')
                                        FILTER (WHERE b.state = ${BucketState.MOVING}), '')
              FROM im.bucket b) AS buckets
     UNION ALL
    SELECT g.*, NULL FROM (${plain.text}) g`;
  return { plain, withBuckets: { name: `${plain.name}_with_buckets`, route: plain.route, text } };
}

/** Sum of the cubes of all buckets. */
const ALL_BUCKETS = ((BUCKETS * (BUCKETS - 1)) / 2) ** 2;

/** Rows of users from several databases. */
export interface RowsByUser<R> {
  /** Without obsolete rows. */
  readonly rows: readonly R[];
  /** The databases that could not be read. */
  readonly failed: readonly Database[];
  /**
   * Whether a bucket was in none of the databases that were read: it moves, it moved between the reads,
   * or a database could not be read. Its rows may be missing.
   */
  readonly moved: boolean;
}

/**
 * Runs a statement by user in databases. They are not read at the same moment: when a bucket may have
 * moved between the reads, they are read once more. `valuesOf` returns the parameters; a database for which
 * it throws counts as failed. Throws UNAVAILABLE when no database can be read.
 */
export async function readByUser<R extends ConversationRow>(
  logs: Logs,
  { plain, withBuckets }: ByUser,
  valuesOf: (db: Database) => readonly Value[],
): Promise<RowsByUser<R>> {
  const isOne = logs.databases.length === 1;
  for (let attempt = 1; ; attempt++) {
    const { results, failures } = await logs.everywhere(async (db) => {
      const statement = isOne ? plain : withBuckets;
      return { db, ...split(await db.run<PlacedRow<R>>(statement, valuesOf(db))) };
    });
    if (results.length === 0) throwFirst(failures);
    const failed = failures.flatMap(({ items }) => items);
    const sum = results.reduce((total, one) => total + one.sum, 0);
    const moved = !isOne && (failed.length > 0 || sum !== ALL_BUCKETS);
    if (moved && failed.length === 0 && attempt === 1) continue;
    const isObsolete = await obsoleteRows(logs, results);
    const rows = results.flatMap(({ db, rows }) => rows.filter((row) => !isObsolete(db, row)));
    return { rows, failed, moved };
  }
}

/** A row with the buckets of its database; null in all rows but one. */
type PlacedRow<R> = R & { readonly buckets?: string | null };

/** Separates the row with the buckets from the others, and marks those of buckets that are moving. */
function split<R extends ConversationRow>(read: PlacedRow<R>[]): { rows: R[]; sum: number } {
  const at = read.findIndex(({ buckets }) => buckets != null);
  if (at < 0) return { rows: read, sum: 0 };
  const [sum = "", list = ""] = read.splice(at, 1)[0]!.buckets!.split(":");
  if (list === "") return { rows: read, sum: Number(sum) };
  const moving = new Set(list.split(",").map(Number));
  const isMoving = ({ conversation_id }: R) => moving.has(bucketOf(conversation_id));
  return { rows: read.map((row) => ({ ...row, moving: isMoving(row) })), sum: Number(sum) };
}
