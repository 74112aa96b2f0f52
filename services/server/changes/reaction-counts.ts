import { create } from "@bufbuild/protobuf";
import { type ReactionCount, ReactionCountSchema } from "#gen/lucky/message/v1/content_pb.js";

/** A reaction that one user adds or removes. */
export interface Delta {
  readonly userId: string;
  readonly emoji: string;
  readonly added: boolean;
}

/** The reactions that one user wants, all of them. */
export interface Wish {
  readonly userId: string;
  readonly emojis: readonly string[];
}

/** The result of wishes, in their order. */
export interface Settled<W> {
  /** The removed and added reactions. The removed ones come first, so that no message has too many kinds meanwhile. */
  readonly deltas: readonly Delta[];
  /** Wishes that would give the message too many kinds. */
  readonly refused: ReadonlySet<W>;
}

/**
 * Applies wishes to the reactions of one message, one after the other; the last one of a user wins.
 * `counts` has the number of users of each emoji, `own` the reactions of these users now.
 */
export function settle<W extends Wish>(
  wishes: readonly W[],
  {
    counts,
    own,
    maxKinds,
  }: {
    readonly counts: ReadonlyMap<string, number>;
    readonly own: ReadonlyMap<string, ReadonlySet<string>>;
    readonly maxKinds: number;
  },
): Settled<W> {
  const users = new Map(counts);
  const current = new Map<string, ReadonlySet<string>>();
  const refused = new Set<W>();
  const add = (emoji: string, number: number) => {
    const left = (users.get(emoji) ?? 0) + number;
    if (left > 0) users.set(emoji, left);
    else users.delete(emoji);
  };
  const replace = (before: ReadonlySet<string>, after: ReadonlySet<string>) => {
    for (const emoji of before) add(emoji, -1);
    for (const emoji of after) add(emoji, 1);
  };
  for (const wish of wishes) {
    const { userId } = wish;
    const before = current.get(userId) ?? own.get(userId) ?? NONE;
    const after = new Set(wish.emojis);
    const isNewKind = [...after].some((emoji) => !users.has(emoji));
    replace(before, after);
    if (isNewKind && users.size > maxKinds) {
      replace(after, before);
      refused.add(wish);
    } else current.set(userId, after);
  }
  const deltas: Delta[] = [];
  for (const [userId, after] of current)
    for (const emoji of own.get(userId) ?? NONE)
      if (!after.has(emoji)) deltas.push({ userId, emoji, added: false });
  for (const [userId, after] of current)
    for (const emoji of after)
      if (!own.get(userId)?.has(emoji)) deltas.push({ userId, emoji, added: true });
  return { deltas, refused };
}

const NONE: ReadonlySet<string> = new Set();

/**
 * The counts after deltas. `recent` has the latest users of each emoji in the deltas. An emoji keeps its place
 * while somebody uses it; a new one comes last.
 */
export function countsAfter(
  counts: readonly ReactionCount[],
  deltas: readonly Delta[],
  recent: ReadonlyMap<string, readonly string[]>,
): ReactionCount[] {
  const numbers = new Map(counts.map(({ emoji, count }) => [emoji, count]));
  for (const { emoji, added } of deltas)
    numbers.set(emoji, (numbers.get(emoji) ?? 0n) + (added ? 1n : -1n));
  const known = new Map(counts.map((count) => [count.emoji, count.recentUserIds]));
  return [...numbers]
    .filter(([, count]) => count > 0n)
    .map(([emoji, count]) => {
      const recentUserIds = [...(recent.get(emoji) ?? known.get(emoji) ?? [])];
      return create(ReactionCountSchema, { emoji, count, recentUserIds });
    });
}
