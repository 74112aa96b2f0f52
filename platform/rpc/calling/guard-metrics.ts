import type { Metrics } from "#platform/metrics.ts";
import type { BreakerState } from "./breaker.ts";

const STATES: readonly BreakerState[] = ["closed", "open", "half-open"];

/** Metrics of the calls to one service. */
export interface GuardMetrics {
  /** Shows the states of the breakers of all instances. */
  breakers(states: Iterable<BreakerState>): void;
  opened(): void;
  /** A retry was made, or left out because the budget was used up. */
  retried(outcome: "made" | "over-budget"): void;
  /** A call was not sent: the breakers are open, or too many calls of users are in flight. */
  refused(reason: "breaker" | "bulkhead"): void;
}

export function guardMetrics(metrics: Metrics, service: string): GuardMetrics {
  const breakers = metrics.gauge(
    "lucky_rpc_breakers",
    "Instances of a service by the state of their circuit breaker in this process",
    ["service", "state"],
  );
  const opened = metrics.counter("lucky_rpc_breaker_opened_total", "Circuit breakers that opened", [
    "service",
  ]);
  const retries = metrics.counter(
    "lucky_rpc_retries_total",
    "Retries of calls to a service, made or left out because the budget was used up",
    ["service", "outcome"],
  );
  const refused = metrics.counter(
    "lucky_rpc_calls_refused_total",
    "Calls that were not sent to a service: open breakers, or too many calls in flight",
    ["service", "reason"],
  );
  return {
    breakers(states) {
      const counts = new Map<BreakerState, number>();
      for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
      for (const state of STATES) breakers.set({ service, state }, counts.get(state) ?? 0);
    },
    opened: () => opened.inc({ service }),
    retried: (outcome) => retries.inc({ service, outcome }),
    refused: (reason) => refused.inc({ service, reason }),
  };
}
