import type { Metrics } from "#platform/metrics.ts";

/** Metrics of the calls to one service. */
export interface GuardMetrics {
  /** Shows the breakers of all instances: whether each is open or half-open. */
  breakers(open: readonly boolean[]): void;
  /** A breaker that was closed has opened. */
  opened(): void;
  /** A retry was made, or left out because the budget was used up. */
  retried(outcome: "made" | "over-budget"): void;
  /** A call was not sent: the breakers are open, or too many calls of users are in flight. */
  refused(reason: "breaker" | "bulkhead"): void;
}

export function guardMetrics(metrics: Metrics, upstream: string): GuardMetrics {
  const breakers = metrics.gauge(
    "lucky_rpc_breakers",
    "Instances of a service by their circuit breaker in this process: closed, or open apart from probes",
    ["upstream", "state"],
  );
  const opened = metrics.counter("lucky_rpc_breaker_opened_total", "Circuit breakers that opened", [
    "upstream",
  ]);
  const retries = metrics.counter(
    "lucky_rpc_retries_total",
    "Retries of calls to a service, made or left out because the budget was used up",
    ["upstream", "outcome"],
  );
  const refused = metrics.counter(
    "lucky_rpc_calls_refused_total",
    "Calls that were not sent to a service: open breakers, or too many calls in flight",
    ["upstream", "reason"],
  );
  return {
    breakers(open) {
      const count = open.filter(Boolean).length;
      breakers.set({ upstream, state: "open" }, count);
      breakers.set({ upstream, state: "closed" }, open.length - count);
    },
    opened: () => opened.inc({ upstream }),
    retried: (outcome) => retries.inc({ upstream, outcome }),
    refused: (reason) => refused.inc({ upstream, reason }),
  };
}
