import { bucketOf } from "#platform/buckets/bucket.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import type { Database } from "./database.ts";
import type { Logs } from "./logs.ts";

/** Selects whether the bucket of a conversation is moving from the database. */
export const isMoving = (conversationId: string) =>
  `(SELECT b.state = ${BucketState.MOVING} FROM im.bucket b
     WHERE b.bucket = (${conversationId} & 1023)::smallint)`;

/** A row of a statement that runs in every database. */
export interface ConversationRow {
  readonly conversation_id: string;
  /** isMoving */
  readonly moving: boolean;
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
