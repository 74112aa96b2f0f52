import type { MessageRange } from "../store.ts";

type Part = Pick<MessageRange, "low" | "high">;

/**
 * Adds a range. Where it overlaps others, the later `exactTo` counts. Touching ranges with the same `exactTo`
 * become one. Ranges are in ascending order and do not overlap.
 */
export function addRange(ranges: readonly MessageRange[], added: MessageRange): MessageRange[] {
  let parts = [added];
  const all: MessageRange[] = [];
  for (const range of ranges) {
    if (range.exactTo > added.exactTo) {
      parts = parts.flatMap((part) => without(part, range));
      all.push(range);
    } else all.push(...without(range, added));
  }
  return merged([...all, ...parts]);
}

/** Removes all sequences of a part. */
export function removePart(ranges: readonly MessageRange[], part: Part): MessageRange[] {
  return ranges.flatMap((range) => without(range, part));
}

/**
 * Raises `exactTo` of the sequences from `low` to `high` that are in ranges, except of those that were exact
 * to less than `after`.
 */
export function raiseExact(
  ranges: readonly MessageRange[],
  { low, high, exactTo }: MessageRange,
  after: bigint,
): MessageRange[] {
  const raised = ranges.flatMap((range) => {
    if (range.exactTo < after || range.exactTo >= exactTo) return [range];
    const inside = { low: later(range.low, low), high: earlier(range.high, high), exactTo };
    return inside.low > inside.high ? [range] : [...without(range, inside), inside];
  });
  return merged(raised);
}

/** Sorts ranges that do not overlap, and joins those that touch and are equally exact. */
export function merged(ranges: readonly MessageRange[]): MessageRange[] {
  const sorted = ranges
    .filter(({ low, high }) => low <= high)
    .sort((a, b) => (a.low < b.low ? -1 : 1));
  const joined: MessageRange[] = [];
  for (const range of sorted) {
    const last = joined.at(-1);
    if (last && last.high + 1n === range.low && last.exactTo === range.exactTo)
      joined[joined.length - 1] = { ...last, high: range.high };
    else joined.push(range);
  }
  return joined;
}

export function later(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

export function earlier(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}

/** Subtracts a part from a range; returns up to two ranges. */
function without(range: MessageRange, { low, high }: Part): MessageRange[] {
  if (high < range.low || low > range.high) return [range];
  const parts = [
    { ...range, high: low - 1n },
    { ...range, low: high + 1n },
  ];
  return parts.filter((part) => part.low <= part.high);
}
