import type { Figures } from "../command/report.ts";

/** The two sides of a comparison: this working tree, and the commit that it is compared with. */
export type Side = "new" | "old";

/** Figures of one run of each side. The two runs do not overlap. */
export type Pair = Readonly<Record<Side, Figures>>;

/**
 * The order of the runs of a pair, by its index from 0. The order alternates: when the machine becomes slower
 * or faster over time, neither side has an advantage.
 */
export function orderOf(pair: number): readonly [Side, Side] {
  return pair % 2 === 0 ? ["new", "old"] : ["old", "new"];
}

/** Runs both sides `count` times in interleaved pairs. Rejects with the first run that fails. */
export async function runInterleaved(
  count: number,
  run: (side: Side, pair: number) => Promise<Figures>,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let index = 0; index < count; index++) {
    const pair: Partial<Record<Side, Figures>> = {};
    for (const side of orderOf(index)) pair[side] = await run(side, index);
    pairs.push(pair as Pair);
  }
  return pairs;
}
