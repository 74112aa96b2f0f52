import { isMessage, type Message } from "@bufbuild/protobuf";
import { AddMembersRequestSchema, CreateGroupRequestSchema } from "#gen/lucky/group/v1/group_pb.js";
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

/**
 * Most points of one call: the most users that the contract admits in a request. Validation refuses
 * a larger request, which must not block its caller's other calls for longer.
 */
const MAX_POINTS = 1_000;

/** Points that a call takes from its budget: one per user that it adds to a group, else one. */
export function pointsOf(request: Message): number {
  const addsUsers =
    isMessage(request, AddMembersRequestSchema) || isMessage(request, CreateGroupRequestSchema);
  return addsUsers ? Math.min(MAX_POINTS, Math.max(1, request.userIds.length)) : 1;
}
