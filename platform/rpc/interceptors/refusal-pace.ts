import type { Clock } from "#platform/clock.ts";
import { createExpiring } from "#platform/limiter/expiring.ts";
import { networkOf } from "#platform/network.ts";

/** Refusals of one address that are answered at once, and how many a second follow. */
const BURST = 20;
const PER_SECOND = 50;

/** Maximum time that an answer waits, ms. Beyond it the caller loses its connection. */
const MAX_WAIT_MS = 2_000;

/** Maximum addresses that are remembered. */
const MAX_ADDRESSES = 100_000;

const SPACING_MS = 1_000 / PER_SECOND;

/**
 * Paces the answers to callers that are over a budget. Without it a client that asks again as soon
 * as it is refused occupies the process with refusals: each costs as much as a small call.
 */
export interface RefusalPace {
  /**
   * Waits for the turn of a refusal of the address, and returns true. Returns false at once when too
   * many of its refusals wait. An abort of the signal ends the wait.
   */
  turn(address: string | undefined, signal?: AbortSignal): Promise<boolean>;
}

export function createRefusalPace(clock: Clock): RefusalPace {
  /** When the next refusal of an address has its turn, if all before it were spaced, elapsed ms. */
  const next = createExpiring<number>(() => clock.elapsed(), {
    maxEntries: MAX_ADDRESSES,
    evicted: () => {},
  });
  return {
    async turn(address, signal) {
      if (address === undefined) return true;
      const key = networkOf(address);
      const now = clock.elapsed();
      const atMs = Math.max(next.get(key) ?? 0, now);
      const waitMs = atMs - now - BURST * SPACING_MS;
      if (waitMs > MAX_WAIT_MS) return false;
      next.set(key, atMs + SPACING_MS, atMs + SPACING_MS);
      if (waitMs > 0) await pause(clock, waitMs, signal);
      return true;
    },
  };
}

function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      timer.stop();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = clock.after(ms, end);
    signal?.addEventListener("abort", end);
  });
}
