import type { Figures } from "../command/report.ts";

/** The two sides of a comparison: this working tree, and the commit that it is compared with. */
export type Side = "new" | "old";

/** Figures of one run of each side. */
export type Pair = Readonly<Record<Side, Figures>>;

/**
 * The order of the runs of a pair, by its index from 0. The order alternates: when the machine becomes slower
 * or faster over time, neither side has an advantage.
 */
export function orderOf(pair: number): readonly [Side, Side] {
  return pair % 2 === 0 ? ["new", "old"] : ["old", "new"];
}

/**
 * Runs both sides `count` times in pairs: one after the other, or both at the same time when `together`.
 * Rejects with the first run that fails, after the other run of its pair has ended.
 */
export async function runInterleaved(
  count: number,
  run: (side: Side, pair: number) => Promise<Figures>,
  { together = false } = {},
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let index = 0; index < count; index++) {
    const pair: Partial<Record<Side, Figures>> = {};
    const record = async (side: Side) => {
      pair[side] = await run(side, index);
    };
    if (together) {
      const runs = await Promise.allSettled(orderOf(index).map(record));
      for (const result of runs) if (result.status === "rejected") throw result.reason;
    } else {
      for (const side of orderOf(index)) await record(side);
    }
    pairs.push(pair as Pair);
  }
  return pairs;
}
