import type { Interceptor } from "@connectrpc/connect";
import type { Clock } from "#platform/clock.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { ruleBook } from "#platform/rpc/rules.ts";
import { accessInterceptor } from "./access.ts";
import type { Budgets } from "./budgets.ts";
import { limitInterceptor } from "./limit.ts";
import { observeInterceptor } from "./observe.ts";
import { validateInterceptor } from "./validate.ts";

export interface ServerInterceptorsOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly verifier: TokenVerifier;
  /** What our own services prove themselves with; empty: nobody can. */
  readonly meshSecret: string;
  /** Whether ACCESS_INTERNAL methods can be called here at all. The gateway says false. */
  readonly trustMesh: boolean;
  /** Without a limiter nothing is limited: behind the gateway every call was counted already. */
  readonly limiter?: Limiter;
  readonly budgets?: Budgets;
}

/**
 * What every call passes on the server's side, from the outside in: observe (log, metric, errors
 * made presentable), access (who calls, may they), limit (budget), validate (constraints of the
 * request). The same chain for calls over the network and in the same process.
 */
export function serverInterceptors(options: ServerInterceptorsOptions): Interceptor[] {
  const { log, metrics, clock, verifier, meshSecret, trustMesh, limiter, budgets } = options;
  const rules = ruleBook();
  const chain = [
    observeInterceptor({ log, metrics, clock, rules }),
    accessInterceptor({ verifier, meshSecret: trustMesh ? meshSecret : "", rules }),
  ];
  if (limiter !== undefined && budgets !== undefined) {
    chain.push(limitInterceptor({ limiter, budgets, rules }));
  }
  chain.push(validateInterceptor());
  return chain;
}
