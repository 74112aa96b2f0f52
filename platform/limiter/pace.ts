import type { Clock } from "#platform/clock.ts";
import { networkOf } from "#platform/network.ts";
import { pause } from "#platform/waiting.ts";
import { createExpiring } from "./expiring.ts";

/** Maximum addresses that are remembered. */
const MAX_ADDRESSES = 100_000;

export interface PaceOptions {
  readonly clock: Clock;
  /** Turns of one address that come at once, and how many a second follow. */
  readonly burst: number;
  readonly perSecond: number;
  /** Maximum wait for a turn, ms. */
  readonly maxWaitMs: number;
}

/** Spreads work for one address, or one /64 network of IPv6, over time. */
export interface Pace {
  /**
   * Waits for a turn of the address, and returns true. Returns false at once when the wait would be
   * too long. An abort of the signal ends the wait.
   */
  turn(address: string | undefined, signal?: AbortSignal): Promise<boolean>;
}

export function createPace({ clock, burst, perSecond, maxWaitMs }: PaceOptions): Pace {
  const spacingMs = 1_000 / perSecond;
  /** When the next turn of an address would be if all its turns were spaced, elapsed ms. */
  const next = createExpiring<number>(() => clock.elapsed(), {
    maxEntries: MAX_ADDRESSES,
    evicted: () => {},
  });
  return {
    async turn(address, signal) {
      if (address === undefined) return true;
      const key = networkOf(address);
      const now = clock.elapsed();
      const spacedMs = Math.max(next.get(key) ?? 0, now);
      const waitMs = spacedMs - now - (burst - 1) * spacingMs;
      if (waitMs > maxWaitMs) return false;
      next.set(key, spacedMs + spacingMs, spacedMs + spacingMs);
      if (waitMs > 0) await pause(clock, waitMs, signal);
      return true;
    },
  };
}
