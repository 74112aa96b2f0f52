/** Buckets that move from a database to another one. */
export interface PlannedMove {
  /** Index of the database. */
  readonly from: number;
  readonly to: number;
  readonly buckets: readonly number[];
}

/**
 * Plans the fewest moves after which the numbers of buckets differ by one at most. `places` has the
 * buckets of each database. Databases with the most buckets get the remainder.
 */
export function planSpread(places: readonly (readonly number[])[]): PlannedMove[] {
  const total = places.reduce((sum, { length }) => sum + length, 0);
  const share = Math.floor(total / places.length);
  const remainder = total % places.length;
  const bySize = [...places.keys()].sort((a, b) => places[b]!.length - places[a]!.length);
  const wanted = new Array<number>(places.length).fill(share);
  for (const at of bySize.slice(0, remainder)) wanted[at]!++;
  const moves: PlannedMove[] = [];
  const givers = bySize
    .map((at) => ({ at, surplus: places[at]!.slice(wanted[at]!) }))
    .filter(({ surplus }) => surplus.length > 0);
  for (const to of bySize) {
    let lacking = wanted[to]! - places[to]!.length;
    while (lacking > 0) {
      const giver = givers[0]!;
      const buckets = giver.surplus.splice(0, lacking);
      moves.push({ from: giver.at, to, buckets });
      lacking -= buckets.length;
      if (giver.surplus.length === 0) givers.shift();
    }
  }
  return moves;
}

/**
 * Plans the moves of buckets to a database; buckets that are already there stay. `places` has the
 * buckets of each database.
 */
export function planMove(
  places: readonly (readonly number[])[],
  { buckets, to }: { readonly buckets: readonly number[]; readonly to: number },
): PlannedMove[] {
  const wanted = new Set(buckets);
  return places
    .map((theirs, from) => ({ from, to, buckets: theirs.filter((bucket) => wanted.has(bucket)) }))
    .filter((move) => move.from !== to && move.buckets.length > 0);
}
