import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import type { Clock } from "#platform/clock.ts";
import type { PeerProof } from "#platform/identity/peer-proof.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Instance } from "#platform/registry/registry.ts";
import { callerAddress } from "#platform/rpc/serving/handler.ts";
import { SOCKET_PATH } from "./endpoint.ts";
import { performHandshake } from "./handshake.ts";
import { bearerOf, refusal, requestHead } from "./head.ts";
import type { Hints } from "./hint.ts";
import type { Placement } from "./placement.ts";

export interface TunnelOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly placement: Placement;
  readonly hints: Hints;
  readonly verifier: TokenVerifier;
  /** Tells the instance where the device is. */
  readonly proof: Pick<PeerProof, "prove">;
  /** Whether a proxy in front names the caller in X-Forwarded-For. */
  readonly trustForwardedFor: boolean;
  readonly clock: Clock;
  /** How long an instance may take to accept the connection, and then to answer the upgrade. */
  readonly connectTimeoutMs: number;
  /** Sockets at once; more are refused with 503. */
  readonly maxTunnels: number;
}

/** Passes WebSockets on to connect instances: their bytes, untouched. */
export interface Tunnels {
  /** Takes an HTTP/1.1 upgrade, as node:http hands it over. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Refuses new ones, lets those there are end by themselves for `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
}

const LINGER_MS = 1_000;

/** An upgrade that is refused: the status line's end and a sentence for the developer. */
interface Refused {
  readonly status: string;
  readonly text: string;
}

/** The hand-over of upgraded connections. Nothing of a WebSocket is parsed here. */
export function createTunnels(options: TunnelOptions): Tunnels {
  const { log, metrics, placement, hints, verifier, clock } = options;
  /** From the upgrade on, those still to be refused included. */
  const open = new Set<Duplex>();
  const openGauge = metrics.gauge("lucky_gateway_tunnels", "WebSockets passed on right now");
  const opened = metrics.counter(
    "lucky_gateway_tunnels_opened_total",
    "Upgrades taken, by outcome",
    ["outcome"],
  );
  let accepting = true;
  let emptied: (() => void) | undefined;

  /** Where the caller wants to be: proven by a token, or else named by a hint. */
  async function preferredOf(request: IncomingMessage, url: URL): Promise<string | undefined> {
    const token = bearerOf(request);
    if (token !== undefined) {
      const { userId } = await verifier.verify(token);
      return placement.whereIs(userId);
    }
    const hint = url.searchParams.get("hint");
    return hint === null ? undefined : hints.open(hint);
  }

  function peerOf(request: IncomingMessage): string | undefined {
    const address = callerAddress(request, options.trustForwardedFor);
    const key = request.headers["sec-websocket-key"] ?? "";
    return address && options.proof.prove({ address, key });
  }

  function faultOf(request: IncomingMessage, url: URL): Refused | undefined {
    if (url.pathname !== SOCKET_PATH) {
      return { status: "404 Not Found", text: `The WebSocket is at ${SOCKET_PATH}.` };
    }
    if (request.headers.upgrade?.toLowerCase() !== "websocket") {
      return { status: "400 Bad Request", text: "Only an upgrade to WebSocket is served here." };
    }
    if (url.searchParams.has("token") || url.searchParams.has("access_token")) {
      return {
        status: "400 Bad Request",
        text: "A token does not belong in a URL, where logs keep it: send it in the Hello frame.",
      };
    }
    if (!accepting) return { status: "503 Service Unavailable", text: "This gateway is stopping." };
    if (open.size > options.maxTunnels) {
      return { status: "503 Service Unavailable", text: "This gateway is full; try again soon." };
    }
    return undefined;
  }

  async function handOver(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = URL.parse(request.url ?? "/", "http://gateway");
    const fault: Refused | undefined = url
      ? faultOf(request, url)
      : { status: "400 Bad Request", text: "The URL cannot be read." };
    if (fault || !url) return refuse(socket, fault!, "refused");

    let preferred: string | undefined;
    try {
      preferred = await preferredOf(request, url);
    } catch (error) {
      log.info({ event: "tunnel_unauthenticated", err: error });
      return refuse(
        socket,
        { status: "401 Unauthorized", text: "The access token is not valid." },
        "unauthenticated",
      );
    }
    for (const instance of await placement.order(preferred)) {
      if (socket.destroyed) return;
      const upstream = await reach(instance, options.connectTimeoutMs);
      if (upstream instanceof Error) {
        log.warn({ event: "tunnel_unreachable", to: instance.instanceId, err: upstream });
        continue;
      }
      const timeoutMs = options.connectTimeoutMs;
      const forwarded = requestHead(request, peerOf(request));
      const answer = await performHandshake({ upstream, head: forwarded, clock, timeoutMs });
      if (answer === "silent") {
        upstream.destroy();
        log.warn({ event: "tunnel_unanswered", to: instance.instanceId });
        continue;
      }
      if (answer === "refused") return passRefusal(socket, upstream);
      placement.placed(instance.instanceId);
      opened.inc({ outcome: "opened" });
      return join(socket, upstream, head);
    }
    refuse(
      socket,
      { status: "503 Service Unavailable", text: "No connect instance can be reached." },
      "unreachable",
    );
  }

  function refuse(socket: Duplex, refused: Refused, outcome: string): void {
    opened.inc({ outcome });
    socket.end(refusal(refused.status, refused.text));
    linger(socket);
  }

  /** Hands down the answer of an instance that refuses the upgrade. */
  function passRefusal(socket: Duplex, upstream: Socket): void {
    opened.inc({ outcome: "refused" });
    socket.once("close", () => upstream.destroy());
    pipeline(upstream, socket, () => {});
    linger(socket);
  }

  /** The peer gets a moment to read why; closing with its bytes unread would tear the answer up. */
  function linger(socket: Duplex): void {
    socket.resume();
    const timer = clock.after(LINGER_MS, () => socket.destroy());
    socket.once("close", () => timer.stop());
  }

  /** Joins two connections. What either side says or ends, the other hears; a break breaks both. */
  function join(socket: Duplex, upstream: Socket, first: Buffer): void {
    if (first.length > 0) upstream.write(first);
    let flowing = 2;
    const ended = (error: Error | null | undefined): void => {
      flowing -= 1;
      if (error || flowing === 0) {
        socket.destroy();
        upstream.destroy();
      }
    };
    pipeline(socket, upstream, ended);
    pipeline(upstream, socket, ended);
  }

  return {
    upgrade(request, socket, head) {
      open.add(socket);
      openGauge.set(open.size);
      // A peer that vanishes is no event worth more than its end.
      socket.on("error", () => socket.destroy());
      socket.once("close", () => {
        open.delete(socket);
        openGauge.set(open.size);
        if (open.size === 0) emptied?.();
      });
      request.socket.setTimeout(0);
      request.socket.setNoDelay(true);
      handOver(request, socket, head).catch((error: unknown) => {
        log.error({ event: "tunnel_failed", err: error });
        socket.destroy();
      });
    },

    async close(graceMs) {
      accepting = false;
      if (open.size === 0) return;
      await new Promise<void>((resolve) => {
        const timer = clock.after(graceMs, resolve);
        emptied = () => {
          timer.stop();
          resolve();
        };
      });
      for (const socket of open) socket.destroy();
    },
  };
}

/** Opens a connection to an instance; an error when that does not come about in time. */
function reach(instance: Instance, timeoutMs: number): Promise<Socket | Error> {
  const { hostname, port } = new URL(instance.address);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve) => {
    const socket = connect({
      host,
      port: Number(port || 80),
      noDelay: true,
      keepAlive: true,
      allowHalfOpen: true,
      timeout: timeoutMs,
    });
    socket.once("timeout", () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.once("error", resolve);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners("timeout");
      // The listener of errors stays: until it is joined, nobody else hears one.
      resolve(socket);
    });
  });
}
