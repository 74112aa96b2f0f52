import {
  createServer,
  type IncomingMessage,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ConnectError } from "@connectrpc/connect";
import { errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { answerBrowser } from "./browser.ts";
import { answerError, noSuchMethod } from "./error-answer.ts";
import type { rpcHandler } from "./handler.ts";

/**
 * Time-outs of an HTTP/1.1 client: for its headers, for its request, and between requests, and how
 * often they are checked, ms. A call has a shorter time-out for its request, which sends an answer.
 */
const TIMEOUTS = {
  headersTimeout: 20_000,
  requestTimeout: 40_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5_000,
};

/** Maximum bytes of the headers of a request, and maximum headers. */
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_HEADERS = 100;

/** Maximum requests of one connection without an answer; one more closes the connection. */
const MAX_PIPELINED = 100;

const TOO_MANY_HEADERS = "431 Request Header Fields Too Large";

export interface Http1Options {
  readonly rpc: ReturnType<typeof rpcHandler>;
  /** Origins whose scripts may call; "*" for any. */
  readonly cors: readonly string[];
  /** Answers requests that are not RPCs; 404 when absent. */
  readonly fallback: ((req: IncomingMessage, res: ServerResponse) => void) | undefined;
  /** Takes over the socket of a WebSocket upgrade; refused with 404 when absent. */
  readonly onUpgrade: ((req: IncomingMessage, socket: Duplex, head: Buffer) => void) | undefined;
}

/** The part of a server that speaks HTTP/1.1. */
export interface Http1Server {
  /** Serves a connection. */
  take(socket: Socket): void;
  /** Whether a WebSocket took the connection over. */
  isUpgraded(socket: Socket): boolean;
  /** Closes idle connections now, and busy ones after the response to their request. */
  drain(): void;
  close(): void;
}

export function http1Server({ rpc, cors, fallback, onUpgrade }: Http1Options): Http1Server {
  const answering = new Set<ServerResponse>();
  const upgraded = new WeakSet<Duplex>();
  const unanswered = new WeakMap<Duplex, Set<ServerResponse>>();
  let draining = false;

  const upgradable: ServerOptions & { shouldUpgradeCallback: (req: IncomingMessage) => boolean } = {
    ...TIMEOUTS,
    maxHeaderSize: MAX_HEADER_BYTES,
    // A request without a host is answered below, with a detail.
    requireHostHeader: false,
    // A request with any other upgrade, such as the h2c that curl offers, is answered like a plain
    // request.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
  };
  const server = createServer(upgradable, (req, res) => {
    const { socket } = req;
    const open = unanswered.get(socket) ?? new Set();
    if (open.size === MAX_PIPELINED) {
      socket.destroy();
      return;
    }
    unanswered.set(socket, open.add(res));
    answering.add(res);
    res.once("close", () => {
      open.delete(res);
      answering.delete(res);
      if (draining) socket.end();
    });
    if (req.headers.host === undefined && req.httpVersion === "1.1") {
      answerError(req, res, unreadable("the request has no Host header"));
      return;
    }
    if (hasTooManyHeaders(req)) {
      answerError(req, res, unreadable(`the request has more than ${MAX_HEADERS} headers`), 431);
      return;
    }
    if (answerBrowser(req, res, cors) || rpc(req, res)) return;
    if (fallback === undefined) answerError(req, res, noSuchMethod(), 404);
    else fallback(req, res);
  });
  server.on("clientError", (error, socket) => {
    const begun = [...(unanswered.get(socket) ?? [])].some((res) => res.headersSent);
    answerUnreadable(error, socket, begun);
  });
  server.on("upgrade", (req, socket, head) => {
    upgraded.add(socket);
    if (hasTooManyHeaders(req)) endWith(socket, TOO_MANY_HEADERS);
    else if (onUpgrade !== undefined) onUpgrade(req, socket, head);
    else endWith(socket, "404 Not Found");
  });
  // Node drops further headers silently, also those that a proxy appends.
  server.maxHeadersCount = MAX_HEADERS;
  // The server gets its connections from `take` and never listens itself. This event starts its
  // time-outs.
  server.emit("listening");

  return {
    take: (socket) => void server.emit("connection", socket),
    isUpgraded: (socket) => upgraded.has(socket),
    drain() {
      draining = true;
      for (const res of answering) if (!res.headersSent) res.shouldKeepAlive = false;
      server.closeIdleConnections();
    },
    close: () => void server.close(),
  };
}

/** Whether headers were dropped. Node reads a few more of them than its maximum. */
function hasTooManyHeaders({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length / 2 > MAX_HEADERS;
}

function unreadable(text: string): ConnectError {
  return fail(ErrorReason.INVALID_ARGUMENT, text);
}

/** Answers a request that Node could not read, and closes its connection. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex, begun: boolean): void {
  if (socket.writable && !begun) {
    const [status, failure] = unreadableBy(error.code);
    const body = errorToJsonBytes(failure, undefined);
    socket.write(
      `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
  }
  socket.destroy();
}

function unreadableBy(code: string | undefined): [status: string, error: ConnectError] {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return [TOO_MANY_HEADERS, unreadable(`the headers have more than ${MAX_HEADER_BYTES} bytes`)];
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return [
        "408 Request Timeout",
        fail(ErrorReason.DEADLINE_EXCEEDED, "the request did not arrive in time"),
      ];
    default:
      return ["400 Bad Request", unreadable("the request is not HTTP/1.1")];
  }
}

function endWith(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
