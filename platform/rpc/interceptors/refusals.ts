import type { Clock } from "#platform/clock.ts";
import { createExpiring } from "#platform/limiter/expiring.ts";
import type { Budget } from "#platform/limiter/limiter.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { createLineSampler } from "./line-sampler.ts";

/** A caller may have the refusals of this many seconds at once. */
const WINDOW_SECONDS = 6;

/** Maximum callers over their budget that are remembered, about 30 MB. */
const MAX_LIMITED = 100_000;

/**
 * Bounds the refused calls of a caller. A refusal costs the server more than the caller, and no
 * budget of a class of methods. Counted per process: it is the work of this process that is bounded,
 * and a refusal must not cause more of it in Redis.
 */
export interface Refusals {
  /** Remaining time in which all calls of the caller are refused, ms; 0 for none. */
  waitMs(caller: string): number;
  /** Counts a refused call. Never rejects. */
  count(caller: string): Promise<void>;
}

export interface RefusalsOptions {
  readonly perSecond: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export function createRefusals({ perSecond, clock, log, metrics }: RefusalsOptions): Refusals {
  const budget: Budget = {
    name: "refusal",
    points: perSecond * WINDOW_SECONDS,
    windowMs: WINDOW_SECONDS * 1_000,
  };
  const limiter = createMemoryLimiter({ clock, metrics });
  /** End of the wait of each caller over its budget. */
  const limited = createExpiring<number>(() => clock.now(), {
    maxEntries: MAX_LIMITED,
    evicted: () => {},
  });
  const limitedTotal = metrics.counter(
    "lucky_rpc_refusals_limited_total",
    "Addresses and users whose calls were all refused for a while, because too many were refused.",
  );
  const sampler = createLineSampler({ log, clock });

  return {
    waitMs: (caller) => Math.max(0, (limited.get(caller) ?? 0) - clock.now()),
    async count(caller) {
      const taken = await limiter.take(budget, caller);
      if (taken.allowed || limited.get(caller) !== undefined) return;
      const { retryAfterMs } = taken;
      const untilMs = clock.now() + retryAfterMs;
      limited.set(caller, untilMs, untilMs);
      limitedTotal.inc();
      if (sampler.admit({ level: "info", method: "any", reason: "refusals_limited" }))
        log.info({ event: "refusals_limited", caller, retryAfterMs });
    },
  };
}
