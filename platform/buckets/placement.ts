import type pg from "pg";

/** Value of im.bucket.state. */
export const BucketState = { ELSEWHERE: 0, HERE: 1, MOVING: 2 } as const;

/** The buckets of one database. */
export interface Placement {
  /** im.database.database_id: the same after a change of the database's address. */
  readonly databaseId: string;
  /** Buckets whose conversations are in the database, ascending. */
  readonly here: readonly number[];
  /** Buckets that are moving from the database to another one, ascending. */
  readonly moving: readonly number[];
}

/** Reads which buckets a database has. Rejects with the driver's error. */
export async function readPlacement(db: Pick<pg.ClientBase, "query">): Promise<Placement> {
  const { rows } = await db.query<{ database_id: string; here: number[]; moving: number[] }>(`
    SELECT d.database_id,
           ARRAY(SELECT bucket FROM im.bucket WHERE state = ${BucketState.HERE} ORDER BY 1) AS here,
           ARRAY(SELECT bucket FROM im.bucket WHERE state = ${BucketState.MOVING} ORDER BY 1) AS moving
      FROM im.database d`);
  const { database_id: databaseId, here, moving } = rows[0]!;
  return { databaseId, here, moving };
}
