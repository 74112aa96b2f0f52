import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import type { Breaker } from "./breaker.ts";
import { classifyFailure, type TransportFailure } from "./transport-failure.ts";

// Outlier ejection: an instance that failed is the last choice for calls until its back-off is over.
// Several failures open its circuit breaker: then it gets no calls.

/** Back-off after a failed connection, and the shortest back-off after a failed call, milliseconds. */
const MIN_EJECTION_MS = 1_000;
/** Back-off after a failed call, as a multiple of the duration of the call. */
const EJECTION_FACTOR = 10;
/** Longest back-off, milliseconds. */
const MAX_EJECTION_MS = 10_000;

/** An instance, and its record of failures. Times are those of `Clock.elapsed`, milliseconds. */
export interface Ejectable {
  readonly instanceId: string;
  /** The last failure; 0 for none. */
  lastFailedAtMs: number;
  /** The instance is the last choice before this time. */
  ejectedUntilMs: number;
  readonly breaker: Breaker;
}

/** A call that was sent to an instance. */
export interface SentCall {
  readonly instance: Ejectable;
  readonly method: DescMethod;
  /**
   * Send time of a unary call. Absent for a stream, because its duration is not related to its
   * failure.
   */
  readonly sentAtMs?: number;
  /** The caller's own signal. */
  readonly signal: AbortSignal | undefined;
}

export interface OutlierEjection {
  /**
   * Sorts in place: ejected instances come last. The order is kept otherwise, and also when all are
   * ejected.
   */
  ejectedLast<T extends Ejectable>(instances: T[]): T[];
  /** Records an answer: it ends the ejection, unless the instance failed after the call was sent. */
  succeeded(instance: Ejectable, sentAtMs: number): void;
  /** Classifies and records a failure. Logs it, unless it is an answer of the service. */
  failed(call: SentCall, error: unknown): TransportFailure;
}

export function outlierEjection(options: {
  readonly service: string;
  readonly log: Log;
  readonly clock: Clock;
}): OutlierEjection {
  const { service, log, clock } = options;

  function eject(instance: Ejectable, forMs: number): void {
    instance.lastFailedAtMs = clock.elapsed();
    instance.ejectedUntilMs = Math.max(instance.ejectedUntilMs, instance.lastFailedAtMs + forMs);
  }

  return {
    ejectedLast(instances) {
      const now = clock.elapsed();
      const ejected = (one: Ejectable) => Number(one.ejectedUntilMs > now);
      // The sort is stable.
      return instances.sort((a, b) => ejected(a) - ejected(b));
    },
    succeeded(instance, sentAtMs) {
      if (sentAtMs >= instance.lastFailedAtMs) instance.ejectedUntilMs = 0;
      instance.breaker.answered();
    },
    failed({ instance, method, sentAtMs, signal }, error) {
      const failure = classifyFailure(error, signal);
      const now = clock.elapsed();
      const startedAtMs = sentAtMs ?? now;
      const backoffMs = EJECTION_FACTOR * (now - startedAtMs);
      const ejectionMs = Math.min(MAX_EJECTION_MS, Math.max(MIN_EJECTION_MS, backoffMs));
      switch (failure) {
        case "answered":
          instance.breaker.answered();
          if (cannotServe(method, error)) eject(instance, ejectionMs);
          return failure;
        case "unanswered":
          if (!signal?.aborted && cannotServe(method, error)) {
            eject(instance, ejectionMs);
            instance.breaker.failed(startedAtMs);
          }
          return failure;
        case "impaired":
          eject(instance, ejectionMs);
          instance.breaker.failed(startedAtMs);
          return failure;
        default: {
          eject(instance, MIN_EJECTION_MS);
          instance.breaker.failed(startedAtMs);
          const event = failure === "unsent" ? "instance_not_reached" : "instance_lost";
          const { instanceId } = instance;
          log.warn({ event, service, instance: instanceId, method: method.name, err: error });
          return failure;
        }
      }
    },
  };
}

/**
 * Whether a failure means that the instance cannot do its work. Only internal calls count: their
 * deadlines are set by our own services, and not by a client.
 */
function cannotServe(method: DescMethod, error: unknown): boolean {
  if (rulesOf(method).access !== Access.INTERNAL) return false;
  const { code } = ConnectError.from(error);
  return code === Code.Unavailable || code === Code.DeadlineExceeded;
}
