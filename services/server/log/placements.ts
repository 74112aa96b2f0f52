import {
  type Placement,
  type PlacementRow,
  placementOf,
  SELECT_PLACEMENT,
} from "#platform/buckets/placement.ts";
import type { Database, Statement } from "./database.ts";

export const selectPlacement: Statement = {
  name: "im_placement",
  route: { kind: "own" },
  text: SELECT_PLACEMENT,
};

/** Reads which buckets a database has. Throws UNAVAILABLE. */
export async function readPlacement(db: Database): Promise<Placement> {
  const [row] = await db.run<PlacementRow>(selectPlacement, []);
  return placementOf(row!);
}
