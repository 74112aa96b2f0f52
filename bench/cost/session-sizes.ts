import type { SessionSize } from "./cost-part.ts";

/**
 * Parses sizes such as "1000x10,200x1000": sessions × conversations of each. Throws an error for the user of the
 * bench.
 */
export function readSessionSizes(text: string): SessionSize[] {
  return text.split(",").map((part) => {
    const match = /^(\d+)x(\d+)$/.exec(part.trim());
    const [sessions, conversations] = [Number(match?.[1]), Number(match?.[2])];
    if (!(sessions > 0 && conversations > 0)) {
      throw new Error("--sizes must be a list such as 1000x10,200x1000: sessions × conversations");
    }
    return { sessions, conversations };
  });
}
