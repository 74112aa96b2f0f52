import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { ProxyChain } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import type { PeerProof } from "#platform/identity/peer-proof.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Metrics } from "#platform/metrics.ts";
import { createLineSampler } from "#platform/rpc/interceptors/line-sampler.ts";
import { bearerOf, refusal, requestHead } from "./head.ts";
import type { Hints } from "./hint.ts";
import type { Placement } from "./placement.ts";
import { linger, passRefusal, splice } from "./splice.ts";
import { checkUpgrade, type Refused } from "./upgrade-check.ts";
import { findUpstream } from "./upstream.ts";

export interface TunnelOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly placement: Placement;
  readonly hints: Hints;
  readonly verifier: TokenVerifier;
  /** Proves the address of the device to the connect instance. */
  readonly proof: Pick<PeerProof, "prove">;
  /** TLS to connect; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  readonly proxies: ProxyChain;
  /** Bounds the tunnels of each client behind a trusted proxy. */
  readonly bounds: Pick<ConnectionBounds, "share">;
  readonly clock: Clock;
  readonly config: {
    /** Time-out for an instance to accept the connection, and then to answer the upgrade, ms. */
    readonly connectTimeoutMs: number;
    /** Largest number of concurrent WebSockets; more are refused with 503. */
    readonly maxTunnels: number;
  };
}

/** Passes WebSockets on to connect instances: their bytes, untouched. */
export interface Tunnels {
  /** Takes an HTTP/1.1 upgrade, in the form of the event of node:http. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Refuses new WebSockets and cuts the open ones, one after the other within `spreadMs`: their devices
   * reconnect at different times.
   */
  close(spreadMs: number): Promise<void>;
}

/** Interval at which a stopping gateway cuts the next tunnels, ms. */
const CUT_INTERVAL_MS = 50;

/** Creates the tunnels of a gateway. They parse upgrade requests, but no WebSocket frames. */
export function createTunnels(options: TunnelOptions): Tunnels {
  const { log, metrics, placement, clock } = options;
  /** All connections from their upgrade on, including connections that are about to be refused. */
  const open = new Set<Duplex>();
  const openGauge = metrics.gauge("lucky_gateway_tunnels", "Open WebSocket tunnels");
  const opened = metrics.counter(
    "lucky_gateway_tunnels_opened_total",
    "WebSocket upgrade requests, by outcome",
    ["outcome"],
  );
  const sampler = createLineSampler({ log, clock });
  let accepting = true;
  let emptied: (() => void) | undefined;

  function refuse(socket: Duplex, refused: Refused, outcome: string): void {
    opened.inc({ outcome });
    socket.end(refusal(refused.status, refused.text));
    linger(socket, clock);
  }

  function refuseUnavailable(socket: Duplex, text: string, outcome: string): void {
    refuse(socket, { status: "503 Service Unavailable", text }, outcome);
  }

  async function handOver(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const checked = checkUpgrade(request);
    if (checked.kind === "refused") return refuse(socket, checked.refused, "refused");
    if (!accepting) return refuseUnavailable(socket, "This gateway is stopping.", "refused");
    if (open.size > options.config.maxTunnels) {
      return refuseUnavailable(socket, "This gateway is full; retry soon.", "refused");
    }
    // A client that connects directly has the place of its connection.
    const client = options.proxies.behindProxy(request);
    if (client !== undefined) {
      const place = options.bounds.share(client);
      if (place === undefined) {
        const text = "Too many connections from this address.";
        return refuse(socket, { status: "429 Too Many Requests", text }, "refused");
      }
      socket.once("close", place.release);
    }

    let preferred: string | undefined;
    try {
      preferred = await preferredInstance(request, checked.url, options);
    } catch (error) {
      const kind = { level: "info", method: "/ws", reason: "tunnel_unauthenticated" } as const;
      if (sampler.admit(kind)) log.info({ event: "tunnel_unauthenticated", err: error });
      const text = "The access token is not valid.";
      return refuse(socket, { status: "401 Unauthorized", text }, "unauthenticated");
    }
    const upstream = await findUpstream({
      instances: await placement.order(preferred),
      head: requestHead(request, peerOf(request, options)),
      device: socket,
      tls: options.tls,
      log,
      clock,
      timeoutMs: options.config.connectTimeoutMs,
    });
    switch (upstream.kind) {
      case "upgraded":
        placement.placed(upstream.instanceId);
        opened.inc({ outcome: "opened" });
        return splice({ device: socket, upstream: upstream.socket, first: head, clock });
      case "refused":
        opened.inc({ outcome: "refused" });
        return passRefusal(socket, upstream.socket, clock);
      case "unreachable":
        return refuseUnavailable(socket, "No connect instance can be reached.", "unreachable");
      case "gone":
        return;
    }
  }

  return {
    upgrade(request, socket, head) {
      open.add(socket);
      openGauge.set(open.size);
      // An error of the device's connection only closes it: such errors are too common to log.
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

    async close(spreadMs) {
      accepting = false;
      if (open.size === 0) return;
      const uncut = [...open];
      const count = uncut.length;
      const beganMs = clock.elapsed();
      const { promise: over, resolve } = Promise.withResolvers<void>();
      emptied = resolve;
      const timer = clock.every(CUT_INTERVAL_MS, () => {
        const passed = Math.min((clock.elapsed() - beganMs) / Math.max(spreadMs, 1), 1);
        const due = Math.floor(count * passed) - (count - uncut.length);
        for (const socket of uncut.splice(0, due)) socket.destroy();
        if (passed === 1) resolve();
      });
      await over;
      timer.stop();
      // Sockets that were refused during the drain.
      for (const socket of open) socket.destroy();
    },
  };
}

/**
 * Name of the instance that the device prefers: by its token, the instance with its user's
 * sessions, or else the instance that its hint names. Throws when the token is not valid.
 */
async function preferredInstance(
  request: IncomingMessage,
  url: URL,
  { verifier, placement, hints }: TunnelOptions,
): Promise<string | undefined> {
  const token = bearerOf(request);
  if (token !== undefined) {
    const { userId } = await verifier.verify(token);
    return placement.whereIs(userId);
  }
  const hint = url.searchParams.get("hint");
  return hint === null ? undefined : hints.open(hint);
}

/** The proof of the device's address; undefined when the address is unknown. */
function peerOf(request: IncomingMessage, options: TunnelOptions): string | undefined {
  const address = options.proxies.clientAddress(request);
  const key = request.headers["sec-websocket-key"]!;
  return address && options.proof.prove({ address, key });
}
