import type { ReactionCount } from "#gen/lucky/message/v1/content_pb.js";

/** Emojis of the reactions of a run. */
const EMOJIS = ["👍", "❤️", "😂"];

/** The emoji of the nth user who reacts to a message. */
export function emojiOf(nth: number): string {
  return EMOJIS[nth % EMOJIS.length]!;
}

/** Counts after the first `users` users have reacted, as text that compares equal to `tallyOf`. */
export function expectedTally(users: number): string {
  const counts = EMOJIS.map((emoji, nth) => ({
    emoji,
    count: Math.ceil((users - nth) / EMOJIS.length),
  }));
  return written(counts.filter(({ count }) => count > 0));
}

/** Counts that a server reports, as text. */
export function tallyOf(counts: readonly ReactionCount[]): string {
  return written(counts);
}

function written(counts: readonly { emoji: string; count: number | bigint }[]): string {
  return counts
    .map(({ emoji, count }) => `${emoji} ${count}`)
    .sort()
    .join(", ");
}
