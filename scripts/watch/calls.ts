import { type Dashboard, perSecond, quantile, sum } from "./panels.ts";

/** RPCs: their rate, errors and duration, and the guard between services. */
export const calls: Dashboard = {
  name: "lucky-calls",
  title: "Lucky: calls",
  rows: {
    "Rate, errors, duration": [
      {
        title: "Calls",
        description: "RPCs that each service serves. A call through the gateway counts there, too.",
        unit: "reqps",
        curves: { "{{service}}": perSecond("lucky_rpc_requests_total", ["service"]) },
      },
      {
        title: "Errors",
        description:
          "Calls that end with an error, by code. Alerts: LuckyInternalErrors, LuckyCallsUnavailable, LuckyCallsRefused.",
        unit: "reqps",
        curves: {
          "{{service}} {{code}}": perSecond('lucky_rpc_requests_total{code!="ok"}', [
            "service",
            "code",
          ]),
        },
      },
      {
        title: "Duration, slowest percent",
        description:
          "99 % of the calls of a service are faster. Streams count with their whole life.",
        unit: "s",
        curves: { "{{service}}": quantile(0.99, "lucky_rpc_seconds", ["service"]) },
      },
    ],
    Methods: [
      {
        title: "Busiest methods",
        description: "The ten methods with the most calls, at the service that serves them.",
        unit: "reqps",
        curves: {
          "{{method}}": `topk(10, ${perSecond("lucky_rpc_requests_total", ["method"])})`,
        },
      },
      {
        title: "Methods with errors",
        description: "The ten methods with the most errors that are not the caller's fault.",
        unit: "reqps",
        curves: {
          "{{method}} {{code}}": `topk(10, ${perSecond(
            'lucky_rpc_requests_total{code=~"internal|unavailable|deadline_exceeded|unknown"}',
            ["method", "code"],
          )})`,
        },
      },
      {
        title: "Slowest methods",
        description: "The ten methods with the longest slowest percent.",
        unit: "s",
        curves: { "{{method}}": `topk(10, ${quantile(0.99, "lucky_rpc_seconds", ["method"])})` },
      },
    ],
    Guard: [
      {
        title: "Open circuit breakers",
        description:
          "Instances that a process does not call because they fail. Alert: LuckyBreakerOpen.",
        unit: "short",
        curves: {
          "{{service}} → {{upstream}}": sum('lucky_rpc_breakers{state="open"}', [
            "service",
            "upstream",
          ]),
        },
      },
      {
        title: "Retries",
        description: "Retries between services: made, or left out because the budget was used up.",
        unit: "reqps",
        curves: {
          "{{upstream}} {{outcome}}": perSecond("lucky_rpc_retries_total", ["upstream", "outcome"]),
        },
      },
      {
        title: "Refused",
        description:
          "Calls that were not sent to a service, connections that the gateway refused, and bodies that never arrived whole.",
        unit: "reqps",
        curves: {
          "call: {{upstream}} {{reason}}": perSecond("lucky_rpc_calls_refused_total", [
            "upstream",
            "reason",
          ]),
          "connection: {{reason}}": perSecond("lucky_connections_refused_total", ["reason"]),
          "body: {{cause}}": perSecond("lucky_request_bodies_refused_total", ["cause"]),
        },
      },
    ],
  },
};
