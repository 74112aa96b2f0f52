import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "../../gen/lucky/options/v1/options_pb.js";
import { callerKey } from "../caller.ts";
import { fail } from "../errors.ts";
import type { Limiter } from "../limiter/limiter.ts";
import type { Budgets } from "./budgets.ts";
import { peerAddress } from "./peer.ts";
import type { MethodRules } from "./rules.ts";

interface LimitOptions {
  readonly limiter: Limiter;
  readonly budgets: Budgets;
  readonly rules: (method: DescMethod) => MethodRules;
}

/** Takes one point of the caller's budget for the method's limit class, or refuses the call. */
export function limitInterceptor({ limiter, budgets, rules }: LimitOptions): Interceptor {
  return (next) => async (request) => {
    const { limit } = rules(request.method);
    const budget = budgets[limit];
    if (budget !== undefined) {
      const caller = request.contextValues.get(callerKey);
      const address = `address:${request.contextValues.get(peerAddress) ?? "local"}`;
      // Guessing credentials must not get cheaper by holding an account.
      const byAddress = limit === LimitClass.CREDENTIAL || caller.kind !== "user";
      const key = byAddress ? address : `user:${caller.userId}`;
      const taken = await limiter.take(budget, key);
      if (!taken.allowed) {
        const { retryAfterMs } = taken;
        throw fail(ErrorReason.RATE_LIMITED, `too many calls (${budget.name})`, { retryAfterMs });
      }
    }
    return next(request);
  };
}
