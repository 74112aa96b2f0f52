import type { IncomingMessage, ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import { type ProxyChain, proxyChain, type TrustedProxies } from "#platform/client-address.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { fail } from "#platform/errors.ts";
import type { MeshCallers } from "#platform/identity/mesh-callers.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Metrics } from "#platform/metrics.ts";
import { requestBodies } from "#platform/rpc/bodies/request-bodies.ts";
import type { Door } from "#platform/rpc/interceptors/door.ts";
import type { Served } from "#platform/rpc/served.ts";
import { meshListener } from "#platform/rpc/tls/mesh-listener.ts";
import { createAdmission } from "./admission.ts";
import { type AnswerPage, rpcHandler } from "./handler.ts";
import { healthService } from "./health.ts";
import { http1Server } from "./http1.ts";
import { http2Server } from "./http2.ts";
import { leanServer } from "./lean-server.ts";
import { detectProtocol, type Protocol } from "./protocol.ts";
import { tlsEntrance } from "./tls-entrance.ts";

export interface ListenOptions {
  readonly host: string;
  /** Port to listen on; 0 for any free port. */
  readonly port: number;
  readonly served: readonly Served[];
  readonly interceptors: readonly Interceptor[];
  /** Decides about calls before their requests are read; none when absent. */
  readonly door?: Door;
  readonly log: Log;
  readonly metrics?: Metrics;
  /** A port for our own services: it also serves lean links, to callers that this identifies. */
  readonly mesh?: MeshCallers | undefined;
  /** Accepts TLS only, from callers with a certificate; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  /**
   * Accepts TLS only, from any client. A connection in plain text gets an answer that says so. Plain
   * text when absent.
   */
  readonly certificate?: ServedCertificate | undefined;
  /** Whether the instance cannot serve at the moment; callers over lean links then prefer others. */
  readonly impaired?: (() => boolean) | undefined;
  /** Status for grpc.health.v1, which is served when this is present. */
  readonly health?: () => boolean;
  /** Answers requests for pages, over HTTP/1.1 and HTTP/2; none when absent. */
  readonly pages?: AnswerPage | undefined;
  /** Answers other HTTP/1.1 requests that are not RPCs; 404 when absent. */
  readonly fallback?: (req: IncomingMessage, res: ServerResponse) => void;
  /** Takes over the socket of a WebSocket upgrade; refused with 404 when absent. */
  readonly onUpgrade?: (req: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Origins whose scripts may call; "*" for any. None when absent. */
  readonly cors?: readonly string[];
  /** Proxies whose X-Forwarded-For or PROXY protocol counts; none when absent. */
  readonly trustedProxies?: TrustedProxies;
  /** Bounds of the clients' connections; none when absent, as on ports for our own services. */
  readonly bounds?: ConnectionBounds;
  /** Clock for the time-outs of clients. */
  readonly clock?: Clock;
  /**
   * Time-out of an idle HTTP/2 connection, milliseconds; 600,000 when absent. Then the connection
   * is closed, and requests that are still open on it are cut after the same time.
   */
  readonly idleMs?: number;
  /** How long `close` waits for calls in flight, milliseconds; 5,000 when absent. */
  readonly graceMs?: number;
}

export interface Listening {
  readonly port: number;
  /**
   * Stops accepting, ends streams with UNAVAILABLE, waits at most the grace for calls in flight, and
   * closes all connections. Idempotent.
   */
  close(): Promise<void>;
}

/** Time-out for the handshake of TLS, and then for the first bytes of a connection. */
const FIRST_BYTES_MS = 10_000;
const KEEP_ALIVE_PROBE_MS = 60_000;

/**
 * Serves gRPC, gRPC-Web and Connect over HTTP/2 and over HTTP/1.1, on one port: the protocol of a
 * connection is detected from its first bytes. Rejects with an error for operators
 * when the port is taken.
 */
export async function listen(options: ListenOptions): Promise<Listening> {
  const { host, port, log, fallback, onUpgrade, cors = [], mesh, tls, bounds } = options;
  const { clock = systemClock, graceMs = 5_000, idleMs = 600_000, trustedProxies = {} } = options;
  const closing = new AbortController();
  const sockets = new Set<Socket>();
  /** Connections whose protocol is not known yet. */
  const undetected = new Set<Socket>();

  const proxies = proxyChain(trustedProxies);
  const { proxyProtocol = false } = trustedProxies;
  const admission = createAdmission({ bounds, proxies, proxyProtocol, clock });
  const rpc = admission.requests(handlerOf(options, { clock, proxies, stop: closing.signal }));
  const http1 = http1Server({ rpc, cors, fallback, onUpgrade });
  const http2 = http2Server({
    rpc,
    cors,
    idleMs,
    mesh: mesh !== undefined,
    log,
    clock,
    flooded: admission.flooded,
  });
  const lean = mesh && leanServer({ ...options, mesh, clock });

  const { certificate } = options;
  const enter = tlsEntrance({ certificate, admission, bounds, clock, timeoutMs: FIRST_BYTES_MS });

  /** Adds a connection whose protocol is not known yet. */
  function waitFor(socket: Socket): void {
    undetected.add(socket);
    socket.once("close", () => undetected.delete(socket));
    socket.on("error", (err) => log.debug({ event: "connection_failed", err }));
  }
  function accept(socket: Socket): void {
    waitFor(socket);
    socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    admission.connection(socket, () => {
      enter(socket, (entered) => {
        if (entered !== socket) {
          undetected.delete(socket);
          waitFor(entered);
        }
        serve(entered);
      });
    });
  }
  function serve(socket: Socket): void {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    const detected = (protocol: Protocol) => {
      // An HTTP/1.1 client may close its half of the connection after the request and wait for
      // the response. In the other protocols this ends the connection.
      socket.allowHalfOpen = protocol === "http/1.1";
      if (protocol === "h2") {
        return admission.session(socket, () => {
          undetected.delete(socket);
          http2.take(socket);
        });
      }
      undetected.delete(socket);
      if (protocol === "http/1.1") http1.take(socket);
      else if (lean) lean.take(socket);
      else socket.destroy();
    };
    detectProtocol({ socket, clock, timeoutMs: FIRST_BYTES_MS, detected });
  }

  const server = tls
    ? meshListener({ tls, log, clock, handshakeMs: FIRST_BYTES_MS }, accept)
    : createServer({ allowHalfOpen: true, noDelay: true }, accept);
  /** Every connection, also those in a handshake of TLS. */
  const connections = new Set<Socket>();
  server.on("connection", (connection: Socket) => {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
  });
  await bind(server, host, port);
  server.on("error", (err) => log.error({ event: "accept_failed", err }));

  async function close(): Promise<void> {
    closing.abort(fail(ErrorReason.UNAVAILABLE, "the service stops: retry"));
    server.close();
    for (const socket of undetected) socket.destroy();
    http2.drain();
    lean?.leave();
    http1.drain();
    await allClosed(
      [...sockets].filter((socket) => !http1.isUpgraded(socket)),
      graceMs,
    );
    for (const socket of [...sockets, ...connections]) socket.destroy();
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

/** The handler of calls, with those of health. */
function handlerOf(
  options: ListenOptions,
  parts: {
    readonly clock: Clock;
    readonly proxies: ProxyChain;
    readonly stop: AbortSignal;
  },
): ReturnType<typeof rpcHandler> {
  const { served, interceptors, door, log, metrics, pages, mesh, health: healthy } = options;
  const health = healthy && healthService({ ...options, ...parts, healthy });
  return rpcHandler({
    ...parts,
    served: health === undefined ? served : [...served, health],
    interceptors,
    door,
    log,
    pages,
    bodies: requestBodies({ mesh: mesh !== undefined, clock: parts.clock, log, metrics }),
  });
}

/** Resolves when all sockets are closed, or after a time-out. */
function allClosed(sockets: readonly Socket[], timeoutMs: number): Promise<void> {
  const open = sockets.filter((socket) => !socket.destroyed);
  const ends = open.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
  return new Promise((resolve) => {
    const timer = systemClock.after(timeoutMs, resolve);
    Promise.all(ends).then(() => {
      timer.stop();
      resolve();
    });
  });
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
