import { createServer, type ServerHttp2Session, type ServerOptions } from "node:http2";
import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { closeWhenIdle } from "#platform/rpc/sessions/idle-sessions.ts";
import { makeDestroySafe } from "#platform/rpc/sessions/session-end.ts";
import { boundStreams } from "#platform/rpc/sessions/stream-bound.ts";
import { answerBrowser } from "./browser.ts";
import { answerError, noSuchMethod } from "./error-answer.ts";
import type { rpcHandler } from "./handler.ts";

/** Time-out for the first request of a client's connection, ms. */
const FIRST_REQUEST_MS = 10_000;

/** Maximum bytes of the headers of a request, and maximum headers. Beyond one, it is reset. */
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_HEADERS = 100;

/** Bounds of one connection. Beyond one of the last four, the connection is closed. */
interface Limits {
  /** Bytes that may wait before a handler reads them: of one request, and of all. */
  readonly windowBytes: number;
  readonly connectionWindowBytes: number;
  /** Memory of node:http2 for the connection, MB. Beyond it, new requests are reset. */
  readonly maxSessionMemory: number;
  /** Maximum requests in flight. A client waits with more. */
  readonly maxConcurrentStreams: number;
  /** Requests that the client may reset at once, and then per second. */
  readonly streamResetBurst: number;
  readonly streamResetRate: number;
  readonly maxSessionInvalidFrames: number;
  /** Maximum requests opened beyond the maximum in flight. */
  readonly maxSessionRejectedStreams: number;
}

/** Bounds of a client. It may reset all its requests at once. */
const CLIENT_LIMITS: Limits = {
  windowBytes: 256 * 1024,
  connectionWindowBytes: 1024 * 1024,
  maxSessionMemory: 10,
  maxConcurrentStreams: 100,
  streamResetBurst: 100,
  streamResetRate: 33,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
};

/**
 * Bounds of a port for our own services. A gateway sends the streams of all its clients over one
 * connection, and resets those of all clients who disconnect.
 */
const MESH_LIMITS: Limits = {
  ...CLIENT_LIMITS,
  windowBytes: 1024 * 1024,
  connectionWindowBytes: 4 * 1024 * 1024,
  maxSessionMemory: 64,
  maxConcurrentStreams: 1_000,
  streamResetBurst: 1_000,
  streamResetRate: 1_000,
};

function serverOptions(limits: Limits): ServerOptions {
  const { maxConcurrentStreams, windowBytes, connectionWindowBytes: _, ...others } = limits;
  return {
    ...others,
    maxHeaderListPairs: MAX_HEADERS,
    settings: {
      maxConcurrentStreams,
      initialWindowSize: windowBytes,
      maxHeaderListSize: MAX_HEADER_BYTES,
    },
  };
}

/** The part of a server that speaks HTTP/2. */
export interface Http2Server {
  /** Serves a connection. */
  take(socket: Socket): void;
  /** Takes no new requests. Each connection closes after its last response. */
  drain(): void;
}

export function http2Server(options: {
  readonly rpc: ReturnType<typeof rpcHandler>;
  /** Origins whose scripts may call; "*" for any. */
  readonly cors: readonly string[];
  /**
   * Time-out of an idle connection, and the further time-out of requests still open on it,
   * milliseconds.
   */
  readonly idleMs: number;
  /** Whether the callers are our own services, which share a connection among many clients. */
  readonly mesh: boolean;
  readonly log: Log;
  readonly clock: Clock;
  /** Called when a client's connection is closed for too many requests that it opened or reset. */
  readonly flooded: (socket: Socket) => void;
}): Http2Server {
  const { rpc, cors, idleMs, mesh, log, clock, flooded } = options;
  const sessions = new Set<ServerHttp2Session>();
  let draining = false;

  const limits = mesh ? MESH_LIMITS : CLIENT_LIMITS;
  const server = createServer(serverOptions(limits), (req, res) => {
    // A request is dispatched once all bytes that arrived with it are read: one that the client
    // reset in them is dropped.
    setImmediate(() => {
      if (req.stream.closed || req.stream.destroyed) return;
      if (answerBrowser(req, res, cors) || rpc(req, res)) return;
      answerError(req, res, noSuchMethod(), 404);
    });
  });
  function begin(session: ServerHttp2Session, socket: Socket): void {
    makeDestroySafe(session, { socket, clock });
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(limits.connectionWindowBytes);
    // node:http has its own time-outs. Without this one, an HTTP/2 client could hold connections
    // for ever.
    session.setTimeout(idleMs, () => {
      session.close();
      session.setTimeout(idleMs, () => session.destroy());
    });
    if (!mesh) {
      const most = limits.maxConcurrentStreams + limits.streamResetBurst;
      boundStreams(session, { most, clock, exceeded: () => flooded(socket) });
      closeWhenIdle(session, { clock, firstRequestMs: FIRST_REQUEST_MS, idleMs });
    }
    if (draining) session.close();
  }
  server.on("sessionError", (err) => log.debug({ event: "connection_failed", err }));

  return {
    take(socket) {
      const beginHere = (session: ServerHttp2Session) => begin(session, socket);
      // The event comes during the call.
      server.once("session", beginHere);
      server.emit("connection", socket);
      server.off("session", beginHere);
    },
    drain() {
      draining = true;
      for (const session of sessions) session.close();
    },
  };
}
