import type pg from "pg";

/** Value of im.bucket.state. */
export const BucketState = { ELSEWHERE: 0, HERE: 1, MOVING: 2, ARRIVING: 3 } as const;

/** The buckets of one database. */
export interface Placement {
  /** im.database.database_id: the same after a change of the database's address. */
  readonly databaseId: string;
  /** Buckets whose conversations are in the database, ascending. */
  readonly here: readonly number[];
  /** Buckets that are moving from the database to another one, ascending. */
  readonly moving: readonly number[];
}

/** A row of SELECT_PLACEMENT. */
export interface PlacementRow {
  database_id: string;
  here: number[];
  moving: number[];
}

/** Selects the placement of a database: one row. */
export const SELECT_PLACEMENT = `
  SELECT d.database_id,
         ARRAY(SELECT bucket FROM im.bucket WHERE state = ${BucketState.HERE} ORDER BY 1) AS here,
         ARRAY(SELECT bucket FROM im.bucket WHERE state = ${BucketState.MOVING} ORDER BY 1) AS moving
    FROM im.database d WHERE d.one_row`;

export function placementOf({ database_id: databaseId, here, moving }: PlacementRow): Placement {
  return { databaseId, here, moving };
}

/** Reads which buckets a database has. Rejects with the driver's error. */
export async function readPlacement(db: pg.ClientBase): Promise<Placement> {
  const { rows } = await db.query<PlacementRow>(SELECT_PLACEMENT);
  return placementOf(rows[0]!);
}
