import type pg from "pg";
import { BUCKETS } from "./bucket.ts";

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

/** By bucket: the number of databases that have it. */
export function countByBucket(placements: readonly Placement[]): number[] {
  const counts = new Array<number>(BUCKETS).fill(0);
  for (const { here } of placements) for (const bucket of here) counts[bucket]!++;
  return counts;
}

/** A bucket that two databases have; undefined for none. */
export function doubled(placements: readonly Placement[]): number | undefined {
  const bucket = countByBucket(placements).findIndex((count) => count > 1);
  return bucket < 0 ? undefined : bucket;
}

/** Number of buckets that no database has. A bucket that moves is not missing. */
export function missingIn(placements: readonly Placement[]): number {
  const moving = new Set(placements.flatMap((placement) => placement.moving));
  return countByBucket(placements).filter((count, bucket) => count === 0 && !moving.has(bucket))
    .length;
}
