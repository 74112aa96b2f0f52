import {
  createServer,
  type IncomingMessage,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { answerBrowser } from "./browser.ts";
import { refuse, type rpcHandler } from "./handler.ts";

/** Time-outs of an HTTP/1.1 client: for its headers, for its request, and between requests, ms. */
const TIMEOUTS = { headersTimeout: 20_000, requestTimeout: 60_000, keepAliveTimeout: 75_000 };

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
  let draining = false;

  const upgradable: ServerOptions & { shouldUpgradeCallback: (req: IncomingMessage) => boolean } = {
    ...TIMEOUTS,
    // A request with any other upgrade, such as the h2c that curl offers, is answered like a plain
    // request.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
  };
  const server = createServer(upgradable, (req, res) => {
    answering.add(res);
    res.once("close", () => {
      answering.delete(res);
      if (draining) req.socket.end();
    });
    if (answerBrowser(req, res, cors) || rpc(req, res)) return;
    if (fallback === undefined) refuse(res, 404);
    else fallback(req, res);
  });
  server.on("upgrade", (req, socket, head) => {
    upgraded.add(socket);
    if (onUpgrade !== undefined) onUpgrade(req, socket, head);
    else socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
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
