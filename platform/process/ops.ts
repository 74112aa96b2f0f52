import type { IncomingMessage, ServerResponse } from "node:http";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import type { OperatorCalls } from "./operator-calls.ts";

export interface OpsOptions {
  readonly host: string;
  /** 0 selects any free port. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Whether the start has succeeded; it stays true. */
  readonly started: () => boolean;
  /** Whether the process accepts work; false while it drains. */
  readonly ready: () => boolean;
  /** Calls of server that this process answers; none when absent. */
  readonly calls?: OperatorCalls;
  readonly log: Log;
}

/**
 * Serves operators over plain HTTP without authentication: GET /metrics (Prometheus), /healthz (200
 * while the event loop runs, whatever the state of the backends), /startz and /readyz (200 or 503).
 * Also serves the calls of server, which authenticates itself. The port must not be reachable from
 * outside.
 */
export async function serveOps(
  options: OpsOptions,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { host, port, metrics, started, ready, calls, log } = options;
  metrics.observeProcess();

  async function answer(path: string): Promise<{ status: number; type?: string; body: string }> {
    switch (path) {
      case "/metrics":
        return { status: 200, type: metrics.contentType, body: await metrics.text() };
      case "/healthz":
        return { status: 200, body: "ok\n" };
      case "/startz":
        return started() ? { status: 200, body: "started\n" } : { status: 503, body: "starting\n" };
      case "/readyz":
        return ready() ? { status: 200, body: "ready\n" } : { status: 503, body: "not ready\n" };
      default:
        return { status: 404, body: "/metrics /healthz /startz /readyz\n" };
    }
  }

  const fallback = (req: IncomingMessage, res: ServerResponse) => {
    answer(req.url?.split("?", 1)[0] ?? "").then(
      ({ status, type = "text/plain; charset=utf-8", body }) => {
        res.writeHead(status, { "content-type": type }).end(body);
      },
      () => res.writeHead(500).end(),
    );
  };
  const { served = [], checks = { interceptors: [] } } = calls ?? {};
  return listen({ host, port, served, ...checks, fallback, log, graceMs: 0 });
}
