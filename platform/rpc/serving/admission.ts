import type { Socket } from "node:net";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { ProxyChain } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { readProxyHeader } from "#platform/connections/proxy-protocol.ts";
import { fail } from "#platform/errors.ts";
import { createExpiring } from "#platform/limiter/expiring.ts";
import { createPace, type Pace } from "#platform/limiter/pace.ts";
import { networkOf } from "#platform/network.ts";
import { answerError, type NodeRequest, type NodeResponse } from "./error-answer.ts";

/**
 * Pace of new HTTP/2 connections of one address. The bytes that a client sends with the start of a
 * connection can contain a hundred requests, all reset at once: twenty such connections take a
 * tenth of a second.
 */
const SESSION_PACE = { burst: 20, perSecond: 20, maxWaitMs: 10_000 };

/**
 * Rate limit of the TLS handshakes of one address. A handshake takes up to a millisecond of
 * processor time, for the signature of an RSA key.
 */
const HANDSHAKE_PACE = { burst: 200, perSecond: 100, maxWaitMs: 10_000 };

/**
 * How long an address gets no HTTP/2 connections after one of them was closed for a flood of
 * requests, ms. Other protocols are not affected.
 */
const FLOOD_MS = 10_000;

/** Maximum addresses that are remembered for a flood. */
const MAX_FLOODERS = 10_000;

/** Answers a request. Returns false, without an answer, when it is not for this handler. */
type Handler = (req: NodeRequest, res: NodeResponse) => boolean;

export interface AdmissionOptions {
  /** Bounds of the connections; none when absent. */
  readonly bounds: ConnectionBounds | undefined;
  readonly proxies: ProxyChain;
  /** Whether connections begin with a header of the PROXY protocol. */
  readonly proxyProtocol: boolean;
  readonly clock: Clock;
}

/** Admits connections and requests, within the bounds of their clients. */
export interface Admission {
  /**
   * Calls `admitted` once the connection may be served, and its `remoteAddress` is the client's.
   * Destroys the connection when it may not.
   */
  connection(socket: Socket, admitted: () => void): void;
  /**
   * Calls `begin` when the TLS handshake of a client may begin: handshakes are throttled per
   * address. Destroys a connection that would wait too long.
   */
  handshake(socket: Socket, begin: () => void): void;
  /**
   * Calls `begin` when an HTTP/2 connection of a client may begin: new ones are throttled per
   * address. Destroys a connection that would wait too long.
   */
  session(socket: Socket, begin: () => void): void;
  /** Refuses the next HTTP/2 connections of the client of a connection that was closed for a flood. */
  flooded(socket: Socket): void;
  /** The handler with a bound for the requests in flight of each client behind a trusted proxy. */
  requests(handler: Handler): Handler;
}

/**
 * A connection counts for the address of its client. A trusted proxy shares its connections among
 * clients: there, the requests in flight count instead. Behind a proxy that sends the header of the
 * PROXY protocol, each connection is a client's own.
 */
export function createAdmission(options: AdmissionOptions): Admission {
  const { bounds, proxies, proxyProtocol, clock } = options;
  const sessions = bounds && createPace({ clock, ...SESSION_PACE });
  const handshakes = bounds && createPace({ clock, ...HANDSHAKE_PACE });
  const flooders = createExpiring<true>(() => clock.elapsed(), {
    maxEntries: MAX_FLOODERS,
    evicted: () => {},
  });

  /**
   * Calls `begin` when the throttle admits the client; destroys a connection that waits too long.
   */
  function inTurn(pace: Pace, socket: Socket, begin: () => void): void {
    const closed = new AbortController();
    const abort = () => closed.abort();
    socket.once("close", abort);
    void pace.turn(socket.remoteAddress, closed.signal).then((hasTurn) => {
      socket.off("close", abort);
      if (!hasTurn) socket.destroy();
      else if (!socket.destroyed) begin();
    });
  }

  /** Whether the connection is a client's own, so that its address can be bounded. */
  function isOwn(socket: Socket): boolean {
    const peer = socket.remoteAddress;
    return peer !== undefined && !proxies.isProxy(peer);
  }

  return {
    connection(socket, admitted) {
      const peer = socket.remoteAddress;
      // The connection has closed already.
      if (peer === undefined) return void socket.destroy();
      const shared = proxies.isProxy(peer);
      if (proxyProtocol && !shared) {
        bounds?.refused("proxy-header", peer);
        return void socket.destroy();
      }
      const place = bounds?.open(shared ? undefined : peer);
      if (bounds && !place) return void socket.destroy();
      socket.once("close", () => place?.release());
      if (!proxyProtocol) return admitted();
      readProxyHeader({
        socket,
        clock,
        refused: () => bounds?.refused("proxy-header", peer),
        done(client) {
          if (client !== undefined) {
            Object.defineProperty(socket, "remoteAddress", { value: client });
            const own = proxies.isProxy(client) ? undefined : client;
            if (place?.move(own) === false) return void socket.destroy();
          }
          admitted();
        },
      });
    },

    handshake(socket, begin) {
      if (handshakes === undefined || !isOwn(socket)) return begin();
      inTurn(handshakes, socket, begin);
    },

    session(socket, begin) {
      if (sessions === undefined || !isOwn(socket)) return begin();
      const peer = socket.remoteAddress!;
      const refused = () => {
        if (!flooders.get(networkOf(peer))) return false;
        bounds?.refused("flood", peer);
        socket.destroy();
        return true;
      };
      if (refused()) return;
      inTurn(sessions, socket, () => {
        if (!refused()) begin();
      });
    },

    flooded(socket) {
      const peer = socket.remoteAddress;
      if (peer === undefined || proxies.isProxy(peer)) return;
      flooders.set(networkOf(peer), true, clock.elapsed() + FLOOD_MS);
    },

    requests(handler) {
      if (bounds === undefined) return handler;
      return (req, res) => {
        const client = proxies.behindProxy(req);
        if (client === undefined) return handler(req, res);
        const place = bounds.share(client);
        if (place === undefined) {
          const text = "too many requests of this address at once";
          answerError(req, res, fail(ErrorReason.RATE_LIMITED, text));
          return true;
        }
        if ("stream" in res) res.stream.once("close", place.release);
        else res.once("close", place.release);
        return handler(req, res);
      };
    },
  };
}
