import { createServer, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { Log } from "#platform/log.ts";
import { refuse, type rpcHandler } from "./handler.ts";

/**
 * Flow-control window that fits a whole batch, bytes, and maximum requests in flight on one
 * connection.
 */
const SETTINGS = { initialWindowSize: 1024 * 1024, maxConcurrentStreams: 1_000 };
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;

/** The part of a server that speaks HTTP/2. */
export interface Http2Server {
  /** Serves a connection. */
  take(socket: Socket): void;
  /** Takes no new requests. Each connection closes after its last response. */
  drain(): void;
}

export function http2Server(options: {
  readonly rpc: ReturnType<typeof rpcHandler>;
  /**
   * Time-out of an idle connection, and the further time-out of requests still open on it,
   * milliseconds.
   */
  readonly idleMs: number;
  readonly log: Log;
}): Http2Server {
  const { rpc, idleMs, log } = options;
  const sessions = new Set<ServerHttp2Session>();
  let draining = false;

  const server = createServer({ settings: SETTINGS }, (req, res) => {
    if (!rpc(req, res)) refuse(res, 404);
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    // node:http has its own time-outs. Without this one, an HTTP/2 client could hold connections
    // for ever.
    session.setTimeout(idleMs, () => {
      session.close();
      session.setTimeout(idleMs, () => session.destroy());
    });
    if (draining) session.close();
  });
  server.on("sessionError", (err) => log.debug({ event: "connection_failed", err }));

  return {
    take: (socket) => void server.emit("connection", socket),
    drain() {
      draining = true;
      for (const session of sessions) session.close();
    },
  };
}
