import {
  createServer,
  type IncomingMessage,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import {
  type AddressInfo,
  createServer as createNetServer,
  type Server,
  type Socket,
} from "node:net";
import type { Duplex } from "node:stream";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { type Clock, systemClock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Served } from "#platform/rpc/served.ts";
import { answerBrowser } from "./browser.ts";
import { refuse, rpcHandler } from "./handler.ts";
import { healthService } from "./health.ts";
import { leanServer } from "./lean-server.ts";
import { detectProtocol } from "./protocol.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  readonly log: Log;
  /** Serves lean links too, to whoever knows this secret of the mesh; refused when absent. */
  readonly meshSecret?: string;
  /** Serves grpc.health.v1 with this answer when given. */
  readonly health?: () => boolean;
  /** HTTP/1.1 requests that are no RPC; 404 when absent. */
  readonly fallback?: (req: IncomingMessage, res: ServerResponse) => void;
  /** Takes over the socket of a WebSocket upgrade; refused with 404 when absent. */
  readonly onUpgrade?: (req: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Origins whose scripts may call; "*" for any. None when absent. */
  readonly cors?: readonly string[];
  /** Whether a proxy in front names the caller in X-Forwarded-For. False when absent. */
  readonly trustForwardedFor?: boolean;
  /** For the time that a client may take. */
  readonly clock?: Clock;
  /**
   * How long nothing may happen on an HTTP/2 connection before it is closed, and before what is then
   * still open on it is cut, milliseconds; 600,000 when absent.
   */
  readonly idleMs?: number;
  /** How long calls in work may take on when it is closed, milliseconds; 5,000 when absent. */
  readonly graceMs?: number;
}

export interface Listening {
  readonly port: number;
  /**
   * Stops accepting, ends streams with UNAVAILABLE, lets calls in work end within the grace, closes
   * everything. Idempotent.
   */
  close(): Promise<void>;
}

const FIRST_BYTES_MS = 10_000;
const KEEP_ALIVE_PROBE_MS = 60_000;

/** How long an HTTP/1.1 client may take for its headers, its request, and between requests. */
const http1Times = { headersTimeout: 20_000, requestTimeout: 60_000, keepAliveTimeout: 75_000 };

/** Room for a batch to arrive in one go, and a bound on what one connection has in work. */
const http2Settings = { initialWindowSize: 1024 * 1024, maxConcurrentStreams: 1_000 };
const HTTP2_CONNECTION_WINDOW = 4 * 1024 * 1024;

/**
 * Serves gRPC, gRPC-Web and Connect over HTTP/2 without TLS and over HTTP/1.1, on one port: the
 * first bytes of a connection tell which. Rejects with a plain text when the port is taken.
 */
export async function listen(options: ListenOptions): Promise<Listening> {
  const { host, port, log, fallback, onUpgrade } = options;
  const { clock = systemClock, graceMs = 5_000, idleMs = 600_000 } = options;
  const closing = new AbortController();
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const answering = new Set<ServerResponse>();
  /** Connections whose protocol is not known yet. */
  const undecided = new Set<Socket>();
  /** Sockets of which a WebSocket was made: they are not waited for. */
  const upgraded = new WeakSet<Duplex>();

  const healthy = options.health;
  const health = healthy && healthService({ ...options, healthy, clock, stop: closing.signal });
  const rpc = rpcHandler({
    served: health === undefined ? options.served : [...options.served, health],
    interceptors: options.interceptors,
    log,
    clock,
    stop: closing.signal,
    trustForwardedFor: options.trustForwardedFor ?? false,
  });

  const { meshSecret = "" } = options;
  const lean = meshSecret === "" ? undefined : leanServer({ ...options, meshSecret, clock });

  const upgradable: ServerOptions & { shouldUpgradeCallback: (req: IncomingMessage) => boolean } = {
    ...http1Times,
    // Anything else, such as the h2c that curl offers, is answered as the plain request it is.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
  };
  const http1 = createServer(upgradable, (req, res) => {
    answering.add(res);
    res.once("close", () => {
      answering.delete(res);
      if (closing.signal.aborted) req.socket.end();
    });
    if (answerBrowser(req, res, options.cors ?? []) || rpc(req, res)) return;
    if (fallback === undefined) refuse(res, 404);
    else fallback(req, res);
  });
  http1.on("upgrade", (req, socket, head) => {
    upgraded.add(socket);
    if (onUpgrade !== undefined) onUpgrade(req, socket, head);
    else socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
  // It is given its connections, so it never listens; its timeouts start with this event.
  http1.emit("listening");

  const http2 = createHttp2Server({ settings: http2Settings }, (req, res) => {
    if (!rpc(req, res)) refuse(res, 404);
  });
  http2.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(HTTP2_CONNECTION_WINDOW);
    // HTTP/1.1 has its timeouts from node:http; here a stranger could hold connections for ever.
    session.setTimeout(idleMs, () => {
      session.close();
      session.setTimeout(idleMs, () => session.destroy());
    });
    if (closing.signal.aborted) session.close();
  });
  http2.on("sessionError", (err) => log.debug({ event: "connection_failed", err }));

  const server = createNetServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    undecided.add(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      undecided.delete(socket);
    });
    socket.on("error", (err) => log.debug({ event: "connection_failed", err }));
    socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    detectProtocol({
      socket,
      clock,
      timeoutMs: FIRST_BYTES_MS,
      detected(protocol) {
        undecided.delete(socket);
        if (protocol === "h2") {
          // An HTTP/1.1 client may say all it has to and wait; in HTTP/2 an end is the end.
          socket.allowHalfOpen = false;
          http2.emit("connection", socket);
        } else if (protocol === "lean") {
          socket.allowHalfOpen = false;
          if (lean) lean.take(socket);
          else socket.destroy();
        } else http1.emit("connection", socket);
      },
    });
  });
  await bind(server, host, port);
  server.on("error", (err) => log.error({ event: "accept_failed", err }));

  async function close(): Promise<void> {
    closing.abort(fail(ErrorReason.UNAVAILABLE, "the service stops: call again"));
    server.close();
    for (const socket of undecided) socket.destroy();
    for (const session of sessions) session.close();
    lean?.leave();
    for (const res of answering) if (!res.headersSent) res.shouldKeepAlive = false;
    http1.closeIdleConnections();
    const inWork = [...sockets].filter((socket) => !socket.destroyed && !upgraded.has(socket));
    const ended = inWork.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    await new Promise<void>((resolve) => {
      const timer = systemClock.after(graceMs, resolve);
      Promise.all(ended).then(() => {
        timer.stop();
        resolve();
      });
    });
    for (const socket of sockets) socket.destroy();
    http1.close();
  }
  let closed: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: NodeJS.ErrnoException) => {
      const why = {
        EADDRINUSE: "the port is taken by another process",
        EACCES: "this user may not open the port",
        EADDRNOTAVAIL: "this machine does not have the address",
      }[cause.code ?? ""];
      reject(new Error(`cannot listen on ${host}:${port}: ${why ?? cause.message}`, { cause }));
    };
    server.once("error", refuse);
    server.listen(port, host, () => {
      server.off("error", refuse);
      resolve();
    });
  });
}
