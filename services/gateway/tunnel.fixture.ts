import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { proxyChain, type TrustedProxies } from "#platform/client-address.ts";
import { systemClock } from "#platform/clock.ts";
import { createConnectionBounds, type Maxima } from "#platform/connections/connection-bounds.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog, type Log } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Lease } from "#platform/registry/registry.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createHints } from "./hint.ts";
import { createPlacement } from "./placement.ts";
import { createTunnels } from "./tunnel.ts";

const silent = createLog({ service: "gateway", instanceId: "test", level: "silent" });
export const AGREED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
export const KEY_HEADER = `Sec-WebSocket-Key: ${KEY}\r\n`;
export const UPGRADE = `GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${KEY_HEADER}`;

interface Upstream {
  readonly instanceId: string;
  readonly server: Server;
  readonly lease: Lease;
  readonly accepted: Socket[];
}

interface Options {
  readonly instances: number;
  readonly maxTunnels?: number;
  readonly log?: Log;
  readonly trustedProxies?: TrustedProxies;
  readonly maxima?: Maxima;
}

/** A gateway's tunnels in front of `instances` TCP servers. */
export async function setUp(t: TestContext, options: Options) {
  const { log = silent } = options;
  const registry = createMemoryRegistry({ clock: systemClock });
  const upstreams: Upstream[] = [];
  for (let at = 0; at < options.instances; at += 1) {
    const accepted: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const instanceId = `connect-${at}`;
    const lease = await registry.announce(
      {
        instanceId,
        service: "connect",
        address: `http://127.0.0.1:${port}`,
        publicAddress: "",
        load: at,
      },
      () => {},
    );
    upstreams.push({ instanceId, server, lease, accepted });
    t.after(() => {
      for (const socket of accepted) socket.destroy();
      server.close();
    });
  }
  const clock = new ManualClock();
  const metrics = new Metrics();
  const issuer = await testIssuer(clock);
  const hints = createHints({ secret: "s", lifetimeMs: () => 60_000, clock: systemClock });
  const tunnels = createTunnels({
    log,
    metrics,
    placement: createPlacement({ registry, log }),
    hints,
    verifier: issuer.verifier,
    proof: createPeerProof(["s"]),
    proxies: proxyChain(options.trustedProxies ?? {}),
    bounds: createConnectionBounds({
      maxima: options.maxima ?? { all: 1_000, address: 1_000, network: 1_000 },
      metrics,
      refused() {},
    }),
    clock,
    config: { connectTimeoutMs: 2_000, maxTunnels: options.maxTunnels ?? 100 },
  });
  const gateway = createHttpServer();
  gateway.on("upgrade", tunnels.upgrade);
  gateway.listen(0, "127.0.0.1");
  await once(gateway, "listening");
  t.after(async () => {
    const closed = tunnels.close(0);
    clock.advance(1_000);
    await closed;
    gateway.close();
    await registry.close();
  });
  const { port } = gateway.address() as AddressInfo;

  /** Connects to the gateway and sends the text. */
  function dial(first: string): Socket {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {});
    t.after(() => socket.destroy());
    socket.write(first);
    return socket;
  }
  /** The next connection that arrives at an upstream, with the head of its request. */
  async function request(at: number): Promise<{ socket: Socket; head: string }> {
    const upstream = upstreams[at]!;
    if (upstream.accepted.length === 0) await once(upstream.server, "connection");
    const socket = upstream.accepted.shift()!;
    socket.on("error", () => {});
    t.after(() => socket.destroy());
    let head = "";
    while (!head.includes("\r\n\r\n")) {
      if (socket.readableLength === 0) await once(socket, "readable");
      head += (socket.read() as Buffer).toString("latin1");
    }
    return { socket, head };
  }
  /** Like `request`, and answers the upgrade with 101. */
  async function arrival(at: number): Promise<{ socket: Socket; head: string }> {
    const arrived = await request(at);
    arrived.socket.write(AGREED);
    return arrived;
  }
  return { dial, request, arrival, upstreams, tunnels, hints, clock, issuer, metrics };
}

/** All bytes until the peer ends its direction; the other direction stays open. */
export async function allOf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}

export async function textOf(socket: Socket): Promise<string> {
  return (await allOf(socket)).toString();
}
