import type { Server, Socket } from "node:net";
import { createServer } from "node:tls";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import { createLineSampler } from "#platform/rpc/interceptors/line-sampler.ts";

export interface MeshListenerOptions {
  readonly tls: MeshTls;
  readonly log: Log;
  readonly clock: Clock;
  /** Time-out of a handshake, ms. */
  readonly handshakeMs: number;
}

/**
 * A server for our own services, whose connections are TLS. `accept` receives them after the handshake. A connection
 * without TLS, or without a certificate of the authority, is closed and logged as `tls_refused`.
 */
export function meshListener(
  { tls, log, clock, handshakeMs }: MeshListenerOptions,
  accept: (socket: Socket) => void,
): Server {
  const sampler = createLineSampler({ log, clock });
  const server = createServer(
    { ...tls.serverOptions, handshakeTimeout: handshakeMs, allowHalfOpen: true, noDelay: true },
    accept,
  );
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
    const reason = error.code ?? "handshake failed";
    if (!sampler.admit({ level: "warn", method: "tls", reason })) return;
    log.warn({ event: "tls_refused", reason, peer: socket.remoteAddress });
  });
  return server;
}
