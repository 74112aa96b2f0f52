import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type MethodRules, ruleBook } from "#platform/rpc/rules.ts";
import { TICK_MS } from "./breaker.ts";
import { guardMetrics } from "./guard-metrics.ts";
import { type InstanceConnection, instancePool } from "./instance-pool.ts";
import { type OutlierEjection, outlierEjection } from "./outlier-ejection.ts";
import { rankByKey } from "./rendezvous.ts";
import { createRetryBudget } from "./retry-budget.ts";

/**
 * Maximum calls of users in flight to one instance; further ones are refused with OVERLOADED. Calls
 * of our own services do not count.
 */
const MAX_USER_CALLS = 5_000;
/**
 * Shortest time left for a call of a user that may be the probe of a half-open breaker, ms. Otherwise
 * clients with tiny deadlines would use up all probes. It is a deadline of one second, less the way
 * to here.
 */
const MIN_PROBE_MS = 900;
/** Shortest time after which a call refused by a breaker can be retried, ms. */
const MIN_RETRY_AFTER_MS = 100;

export interface GuardOptions {
  readonly registry: Pick<Registry, "instances">;
  /** Name of the service process: "auth", "server" … */
  readonly service: string;
  /** Secret of the calling service. It is sent when a link opens, or with every call by gRPC. */
  readonly secret: string;
  /** TLS of the mesh; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  readonly log: Log;
  /** Metrics of this process; not shown when absent. */
  readonly metrics?: Metrics;
  readonly clock: Clock;
  /** Whether unary calls go over lean links, which all our service processes serve. */
  readonly lean?: boolean;
  /** Maximum calls of users in flight to one instance; MAX_USER_CALLS when absent. */
  readonly maxUserCalls?: number;
}

/** Decides which instances of a service get a call, and which calls are retried. */
export interface Guard extends Pick<OutlierEjection, "succeeded" | "failed"> {
  /** Counts a call. Returns the connections in the order in which it tries them. */
  candidates(key: string | undefined): Promise<InstanceConnection[]>;
  /** Whether the call belongs to a user, and not to one of our own services. */
  isOfUser(method: DescMethod): boolean;
  /**
   * The error of a call that may not be sent to an instance; undefined when it may. `leftMs` is the
   * time until the deadline of the call, 0 without one.
   */
  refusalOf(
    instance: InstanceConnection,
    call: { readonly ofUser: boolean; readonly leftMs: number },
  ): ConnectError | undefined;
  /** Takes a retry of a call from the budget; false when it must not be retried. */
  mayRetry(method: DescMethod): boolean;
  unavailable(cause: unknown): ConnectError;
  /** The error of a call that no instance served: the last refusal, or the cause of a failure. */
  notSent(refusal: ConnectError | undefined, cause: unknown): ConnectError;
  /** Ends all connections, and with them the calls in flight. Idempotent. */
  close(): void;
}

/** Creates the guard of the calls to a service. */
export function createGuard(options: GuardOptions): Guard {
  const { service, clock, log, maxUserCalls = MAX_USER_CALLS } = options;
  const shown = guardMetrics(options.metrics ?? new Metrics(), service);
  const pool = instancePool({
    ...options,
    breakerChanged(instance, state, before) {
      showBreakers();
      if (state === "closed") log.info({ event: "breaker_closed", upstream: service, instance });
      if (before !== "closed") return;
      shown.opened();
      log.warn({ event: "breaker_opened", upstream: service, instance });
    },
  });
  const ejection = outlierEjection(options);
  const budget = createRetryBudget();
  const rules = ruleBook();
  let turn = 0;

  function showBreakers(): void {
    shown.breakers([...pool.known()].map(({ breaker }) => breaker.state !== "closed"));
  }
  const watch = clock.every(TICK_MS, () => {
    for (const { breaker } of pool.known()) breaker.tick();
    showBreakers();
  });

  function unavailable(cause: unknown): ConnectError {
    return fail(ErrorReason.UNAVAILABLE, `${service} cannot be reached`, { cause });
  }

  return {
    ...ejection,
    unavailable,
    isOfUser: (method) => rules(method).access !== Access.INTERNAL,
    async candidates(key) {
      const live = await pool.live();
      budget.call();
      const start = live.length === 0 ? 0 : turn++ % live.length;
      const order =
        key === undefined ? [...live.slice(start), ...live.slice(0, start)] : rankByKey(live, key);
      return ejection.ejectedLast(order);
    },
    refusalOf({ breaker, userCalls }, { ofUser, leftMs }) {
      const waitMs = breaker.waitMs(!ofUser || leftMs === 0 || leftMs >= MIN_PROBE_MS);
      if (waitMs > 0) {
        const retryAfterMs = Math.max(MIN_RETRY_AFTER_MS, waitMs);
        const text = `${service} does not answer at the moment`;
        return fail(ErrorReason.UNAVAILABLE, text, { retryAfterMs });
      }
      if (!ofUser || userCalls < maxUserCalls) return undefined;
      return fail(ErrorReason.OVERLOADED, `too many calls wait for ${service}`);
    },
    notSent(refusal, cause) {
      if (refusal === undefined || cause !== undefined) return unavailable(cause);
      shown.refused(refusal.code === Code.Unavailable ? "breaker" : "bulkhead");
      return refusal;
    },
    mayRetry(method) {
      if (!isRetriable(method, rules(method))) return false;
      const may = budget.take();
      shown.retried(may ? "made" : "over-budget");
      return may;
    },
    close() {
      watch.stop();
      pool.close();
    },
  };
}

/** Whether the contract declares that a retry of the method is harmless. */
function isRetriable(method: DescMethod, { access }: MethodRules): boolean {
  if (access === Access.INTERNAL) return true;
  return method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN;
}
