import type { Clock } from "#platform/clock.ts";
import { createExpiring } from "#platform/limiter/expiring.ts";
import type { Budget } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { networkOf, SITE_FACTOR, siteOf } from "#platform/network.ts";
import { createLineSampler } from "./line-sampler.ts";

/** A caller may have the refusals of this many seconds at once. */
const WINDOW_SECONDS = 6;

/** Maximum callers over their budget that are remembered, about 30 MB. */
const MAX_LIMITED = 100_000;

/**
 * Bounds the refused calls of a caller. A refusal costs the server more than the caller, and takes
 * no points from the budget of a limit class. Counted per process: the bound is on the work of this
 * process, and a refusal must not cause further work in Redis.
 */
export interface Refusals {
  /** Remaining time in which all calls of the user are refused, ms; 0 for none. */
  waitOfUser(userId: string): number;
  /** Remaining time in which all calls of the address, or of its /48 network, are refused, ms. */
  waitOfAddress(address: string | undefined): number;
  /** Counts a refused call for the address, its /48 network and the user. */
  count(caller: { readonly address: string | undefined; readonly userId?: string }): void;
}

export interface RefusalsOptions {
  readonly perSecond: () => number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export function createRefusals({ perSecond, clock, log, metrics }: RefusalsOptions): Refusals {
  const budgetOf = (factor: number): Budget => ({
    name: "refusal",
    get points() {
      return perSecond() * WINDOW_SECONDS * factor;
    },
    windowMs: WINDOW_SECONDS * 1_000,
  });
  const budget = budgetOf(1);
  const siteBudget = budgetOf(SITE_FACTOR);
  const limiter = createMemoryLimiter({ clock, metrics });
  /** End of the wait of each caller over its budget, elapsed ms. */
  const limited = createExpiring<number>(() => clock.elapsed(), {
    maxEntries: MAX_LIMITED,
    evicted: () => {},
  });
  const limitedTotal = metrics.counter(
    "lucky_rpc_refusals_limited_total",
    "Times that all calls of an address or a user were refused for a while, after too many refusals.",
  );
  const sampler = createLineSampler({ log, clock });

  const waitMs = (caller: string) => Math.max(0, (limited.get(caller) ?? 0) - clock.elapsed());

  async function take(from: Budget, caller: string): Promise<void> {
    const taken = await limiter.take(from, caller);
    if (taken.allowed || waitMs(caller) > 0) return;
    const { retryAfterMs } = taken;
    const untilMs = clock.elapsed() + retryAfterMs;
    limited.set(caller, untilMs, untilMs);
    limitedTotal.inc();
    if (sampler.admit({ level: "info", method: "any", reason: "refusals_limited" }))
      log.info({ event: "refusals_limited", caller, retryAfterMs });
  }

  return {
    waitOfUser: (userId) => waitMs(userKey(userId)),
    waitOfAddress(address) {
      if (address === undefined) return 0;
      const site = siteOf(address);
      const siteMs = site === undefined ? 0 : waitMs(addressKey(site));
      return Math.max(siteMs, waitMs(addressKey(networkOf(address))));
    },
    count({ address, userId }) {
      if (userId !== undefined) void take(budget, userKey(userId));
      if (address === undefined) return;
      void take(budget, addressKey(networkOf(address)));
      const site = siteOf(address);
      if (site !== undefined) void take(siteBudget, addressKey(site));
    },
  };
}

const userKey = (userId: string) => `user:${userId}`;
const addressKey = (network: string) => `address:${network}`;
