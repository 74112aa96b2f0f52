import { createContextKey } from "@connectrpc/connect";

/**
 * Context value of a call: calls with the same key go to the same instance as long as it is live and
 * not ejected. Undefined: round robin.
 */
export const routeKey = createContextKey<string | undefined>(undefined, {
  description: "route key",
});

/**
 * Orders candidates by preference of a key (rendezvous hashing). When a candidate leaves, only its
 * keys move; a new candidate takes an equal share of the keys of all others.
 */
export function rankByKey<T extends { readonly instanceId: string }>(
  candidates: readonly T[],
  key: string,
): T[] {
  return candidates
    .map((candidate) => ({ candidate, score: hash(`${key}\n${candidate.instanceId}`) }))
    .sort((a, b) => b.score - a.score || (a.candidate.instanceId < b.candidate.instanceId ? -1 : 1))
    .map(({ candidate }) => candidate);
}

/** FNV-1a with the final mixing of MurmurHash3, which makes short similar texts differ widely. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
