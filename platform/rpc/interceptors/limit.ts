import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import { callerKey } from "#platform/identity/caller.ts";
import type { Budget, Limiter } from "#platform/limiter/limiter.ts";
import { networkOf, SITE_FACTOR, siteOf } from "#platform/network.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { MethodRules } from "#platform/rpc/rules.ts";
import { type ArrivingCall, admittedKey } from "./access.ts";
import { type Budgets, isWeighed, pointsOf } from "./budgets.ts";

export interface LimitOptions {
  readonly limiter: Limiter;
  readonly budgets: Budgets;
  readonly rules: (method: DescMethod) => MethodRules;
}

/** A call, as the limiter counts it. */
interface CountedCall {
  readonly limit: LimitClass;
  /** Points that the call takes, see `pointsOf`; 0 to check that the budget is not used up. */
  readonly points: number;
  /** The logged-in user; undefined without a login. */
  readonly userId: string | undefined;
  /** Address of the caller; undefined for calls that began in the same process. */
  readonly address: string | undefined;
}

/**
 * Takes the points of a call from the caller's budget for its limit class, or throws RATE_LIMITED. The
 * call of an IPv6 address also takes from the budget of its /48 network.
 */
export async function takePoints(
  { limiter, budgets }: { limiter: Limiter; budgets: Budgets },
  { limit, points, userId, address }: CountedCall,
): Promise<void> {
  const budget = budgets[limit];
  if (budget === undefined) return;
  // Count credential calls by address even with a login: a login must not make guessing cheaper.
  const alwaysByAddress = limit === LimitClass.CREDENTIAL || limit === LimitClass.INTERNAL;
  const byAddress = alwaysByAddress || userId === undefined;
  const key = byAddress ? `address:${networkOf(address ?? "local")}` : `user:${userId}`;
  await takeFrom(limiter, budget, { key, points });
  const site = byAddress && address !== undefined ? siteOf(address) : undefined;
  if (site === undefined) return;
  const siteBudget = { ...budget, points: budget.points * SITE_FACTOR };
  await takeFrom(limiter, siteBudget, { key: `address:${site}`, points });
}

async function takeFrom(
  limiter: Limiter,
  budget: Budget,
  { key, points }: { readonly key: string; readonly points: number },
): Promise<void> {
  const taken = await limiter.take(budget, key, points);
  if (taken.allowed) return;
  const { retryAfterMs } = taken;
  throw fail(ErrorReason.RATE_LIMITED, `too many calls (${budget.name})`, { retryAfterMs });
}

/** Takes the points of an identified call from the caller's budget for its limit class, or throws. */
export async function takePointsOf(
  { rules, ...counting }: LimitOptions,
  { method, contextValues }: Pick<ArrivingCall, "method" | "contextValues">,
  points: number,
): Promise<void> {
  const { limit } = rules(method);
  const caller = contextValues.get(callerKey);
  const userId = caller.kind === "user" ? caller.userId : undefined;
  const address = contextValues.get(peerAddress);
  await takePoints(counting, { limit, points, userId, address });
}

/** Counts calls that did not come through a door, and those whose points depend on the request. */
export function limitInterceptor(options: LimitOptions): Interceptor {
  return (next) => async (request) => {
    if (!request.contextValues.get(admittedKey) || isWeighed(request.method)) {
      await takePointsOf(options, request, request.stream ? 1 : pointsOf(request.message));
    }
    return next(request);
  };
}
