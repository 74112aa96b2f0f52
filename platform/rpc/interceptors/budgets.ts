import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import type { LimitsConfig } from "#platform/config/settings.ts";
import type { Budget } from "#platform/limiter/limiter.ts";

/** The budget of each limit class; a class without one is not limited. */
export type Budgets = { readonly [C in LimitClass]?: Budget };

/** The budgets as configured. */
export function budgetsOf(limits: LimitsConfig): Budgets {
  const perSecond = (name: string, points: number): Budget => ({ name, points, windowMs: 1_000 });
  return {
    [LimitClass.READ]: perSecond("read", limits.readPerSecond),
    [LimitClass.WRITE]: perSecond("write", limits.writePerSecond),
    [LimitClass.SEND]: perSecond("send", limits.sendPerSecond),
    [LimitClass.CREDENTIAL]: {
      name: "credential",
      points: limits.credentialPerMinute,
      windowMs: 60_000,
    },
    [LimitClass.SEARCH]: { name: "search", points: limits.searchPerMinute, windowMs: 60_000 },
  };
}
