import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Metrics } from "#platform/metrics.ts";

export interface OpsOptions {
  readonly host: string;
  /** 0 selects any free port. */
  readonly port: number;
  readonly metrics: Metrics;
  /** Whether the process accepts work; false while it drains. */
  readonly ready: () => boolean;
}

/**
 * Serves operators over plain HTTP without authentication: GET /metrics (Prometheus), /healthz (200
 * while the process runs), /readyz (200 or 503). The port must not be reachable from outside.
 */
export async function serveOps(
  options: OpsOptions,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { host, port, metrics, ready } = options;
  metrics.observeProcess();

  async function answer(path: string): Promise<{ status: number; type?: string; body: string }> {
    switch (path) {
      case "/metrics":
        return { status: 200, type: metrics.contentType, body: await metrics.text() };
      case "/healthz":
        return { status: 200, body: "ok\n" };
      case "/readyz":
        return ready() ? { status: 200, body: "ready\n" } : { status: 503, body: "not ready\n" };
      default:
        return { status: 404, body: "/metrics /healthz /readyz\n" };
    }
  }

  const server = createServer((req, res) => {
    answer(req.url?.split("?", 1)[0] ?? "").then(
      ({ status, type = "text/plain; charset=utf-8", body }) => {
        res.writeHead(status, { "content-type": type }).end(body);
      },
      () => res.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new Error(`cannot serve operators on ${host}:${port}: ${cause.message}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
