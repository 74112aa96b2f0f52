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
import { turnsInterceptor } from "./turns.ts";
import { validateInterceptor } from "./validate.ts";

export interface ServerInterceptorsOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly verifier: TokenVerifier;
  /** Credential of our own services. Empty: every internal call is refused. */
  readonly meshSecret: string;
  /** Whether ACCESS_INTERNAL methods may be called with the mesh secret. False in the gateway. */
  readonly trustMesh: boolean;
  /**
   * Absent: no rate limit, for services whose calls the gateway has already counted. They do the
   * work, so they run only a few calls of one caller at once.
   */
  readonly limiter?: Limiter;
  readonly budgets?: Budgets;
}

/**
 * The interceptors of every call on the server's side, outermost first: observe (log, metric, public
 * errors), access (caller and permission), limit (rate limit), validate (constraints of the request),
 * turns (calls of one caller at once). Calls over the network and in the same process pass the same
 * chain.
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
  if (limiter === undefined) chain.push(turnsInterceptor(rules));
  return chain;
}
