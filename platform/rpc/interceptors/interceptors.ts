import type { Interceptor } from "@connectrpc/connect";
import type { Clock } from "#platform/clock.ts";
import type { MeshCallers } from "#platform/identity/mesh-callers.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import { createPace } from "#platform/limiter/pace.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { ruleBook } from "#platform/rpc/rules.ts";
import type { Traces } from "#platform/tracing/traces.ts";
import { accessInterceptor, createAccessControl } from "./access.ts";
import type { Budgets } from "./budgets.ts";
import { createDoor, type Door } from "./door.ts";
import { limitInterceptor } from "./limit.ts";
import { type LoadShedder, shedInterceptor } from "./load-shedder.ts";
import { observeInterceptor } from "./observe.ts";
import { createRefusals } from "./refusals.ts";
import { turnsInterceptor } from "./turns.ts";
import { validateInterceptor } from "./validate.ts";

export interface ServerInterceptorsOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly verifier: TokenVerifier;
  /**
   * Identifies our own services. Absent: every ACCESS_INTERNAL call is refused, as by the gateway.
   */
  readonly mesh?: MeshCallers | undefined;
  /**
   * Absent: no rate limit, for services whose calls the gateway has already counted. They do the
   * work, so they run only a few calls of one caller at once.
   */
  readonly limiter?: Limiter;
  readonly budgets?: Budgets;
  /**
   * Refused calls of one address, a second, beyond which all its calls are refused for a while.
   * Absent: no bound, for ports where an address is a whole service.
   */
  readonly refusalsPerSecond?: () => number;
  /** Sheds calls of users while this process has too much to do; absent: never. */
  readonly shedder?: LoadShedder;
  /** Absent: no call is traced. */
  readonly traces?: Traces | undefined;
}

/**
 * Pace of the answers to an address that is over a budget. A refusal costs as much as a small call:
 * without a pace, a client that asks again at once occupies the process.
 */
const REFUSAL_PACE = { burst: 20, perSecond: 50, maxWaitMs: 2_000 };

/** The checks of the calls of one port. */
export interface ServerInterceptors {
  readonly interceptors: Interceptor[];
  /** Admits or refuses calls over the network before their requests are read, see Door. */
  readonly door: Door;
}

/**
 * The interceptors of every call on the server's side, outermost first: observe (log, metric, public
 * errors), shed (too much load), access (caller and permission), limit (rate limit), validate (constraints of the request),
 * turns (calls of one caller at once). Calls over the network and in the same process pass the same
 * chain. For calls over the network the door does the work of shed, access and limit before the request is
 * read.
 */
export function serverInterceptors(options: ServerInterceptorsOptions): ServerInterceptors {
  const { log, metrics, clock, verifier, mesh, limiter, budgets, traces } = options;
  const { refusalsPerSecond: perSecond, shedder } = options;
  const rules = ruleBook();
  const observe = observeInterceptor({ log, metrics, clock, rules, traces });
  const access = createAccessControl({ verifier, mesh, rules });
  const limit = limiter && budgets && { limiter, budgets, rules };
  const refusals =
    perSecond === undefined ? undefined : createRefusals({ perSecond, clock, log, metrics });
  const pace = refusals && createPace({ clock, ...REFUSAL_PACE });
  return {
    interceptors: [
      observe,
      ...(shedder === undefined ? [] : [shedInterceptor(shedder, rules)]),
      accessInterceptor(access),
      ...(limit === undefined ? [] : [limitInterceptor(limit)]),
      validateInterceptor(),
      ...(limiter === undefined ? [turnsInterceptor(rules)] : []),
    ],
    door: createDoor({ access, limit, observe, refusals, pace, shedder, rules }),
  };
}
