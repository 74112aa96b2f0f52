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
import { type Budgets, pointsOf } from "./budgets.ts";

interface LimitOptions {
  readonly limiter: Limiter;
  readonly budgets: Budgets;
  readonly rules: (method: DescMethod) => MethodRules;
}

/** A call, as the limiter counts it. */
interface CountedCall {
  readonly limit: LimitClass;
  /** Points that the call takes, see `pointsOf`. */
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
  const byAddress = limit === LimitClass.CREDENTIAL || userId === undefined;
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

/** Takes the points of the call from the caller's budget for its limit class, or refuses the call. */
export function limitInterceptor({ limiter, budgets, rules }: LimitOptions): Interceptor {
  return (next) => async (request) => {
    const { limit } = rules(request.method);
    const caller = request.contextValues.get(callerKey);
    const userId = caller.kind === "user" ? caller.userId : undefined;
    const address = request.contextValues.get(peerAddress);
    const points = request.stream ? 1 : pointsOf(request.message);
    await takePoints({ limiter, budgets }, { limit, points, userId, address });
    return next(request);
  };
}
