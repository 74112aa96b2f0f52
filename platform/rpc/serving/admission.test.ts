import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { proxyChain } from "#platform/client-address.ts";
import { createConnectionBounds, type Maxima } from "#platform/connections/connection-bounds.ts";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { Metrics } from "#platform/metrics.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { createAdmission } from "./admission.ts";
import { CALL, closed, dial, post, protocols, start } from "./listen.fixture.ts";

const ATTACKER = "127.0.0.66";
const HONEST = "127.0.0.7";
/** Begins an HTTP/2 connection, and sends no request. */
const HTTP2 = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);
const HTTP1 = "GET /idle HTTP/1.1\r\nHost: lucky\r\n\r\n";

/** A server with bounds. */
async function bounded(t: TestContext, maxima: Maxima, options: Parameters<typeof start>[1] = {}) {
  const refusals: string[] = [];
  const metrics = new Metrics();
  const bounds = createConnectionBounds({
    maxima,
    metrics,
    refused: (reason, address) => void refusals.push(`${reason} ${address}`),
  });
  const peers: (string | undefined)[] = [];
  const server = await start(t, {
    bounds,
    service: {
      auth: {
        getJwks(_request, { values }) {
          peers.push(values.get(peerAddress));
          return { jwksJson: "{}" };
        },
      },
    },
    ...options,
  });
  async function open(from: string, first: string | Buffer): Promise<Socket> {
    const socket = await dial(server.port, from);
    t.after(() => socket.destroy());
    socket.write(first);
    return socket;
  }
  const connections = async () =>
    Number(/^lucky_connections (\d+)$/m.exec(await metrics.text())?.[1]);
  return { ...server, open, refusals, peers, connections };
}

for (const [name, first] of [
  ["HTTP/2 without a request", HTTP2],
  ["HTTP/1.1 after a request", HTTP1],
  ["no protocol", ""],
] as const) {
  test(`idle connections of one address with ${name} keep nobody else out`, async (t) => {
    const maxima = { all: 40, address: 8, network: 20 };
    const { open, refusals, connections } = await bounded(t, maxima);
    const idle = await Promise.all(Array.from({ length: 60 }, () => open(ATTACKER, first)));
    for (const socket of idle) socket.resume();
    while (idle.filter((socket) => socket.closed).length < 52) await new Promise(setImmediate);
    assert.equal(await connections(), 8);
    assert.deepEqual(new Set(refusals), new Set([`address ${ATTACKER}`]));
    assert.match(await text(await open(HONEST, post)), /^HTTP\/1\.1 200 OK/);
    // The places of closed connections are free.
    for (const socket of idle) socket.destroy();
    while ((await connections()) > 0) await new Promise(setImmediate);
    assert.match(await text(await open(ATTACKER, post)), /^HTTP\/1\.1 200 OK/);
  });
}

for (const name of ["Connect over HTTP/1.1", "gRPC"]) {
  test(`behind a trusted proxy, a client's requests are bounded, not the connections: ${name}`, async (t) => {
    let arrived = 0;
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
    async function getJwks() {
      arrived++;
      await answered;
      return { jwksJson: "{}" };
    }
    const { address, refusals } = await bounded(
      t,
      { all: 100, address: 2, network: 4 },
      { trustedProxies: { networks: ["127.0.0.1"] }, service: { auth: { getJwks } } },
    );
    const client = createClient(AuthService, protocols[name]!(address));
    const call = (from: string) => client.getJwks({}, { headers: { "x-forwarded-for": from } });
    const first = [call("203.0.113.7"), call("203.0.113.7")];
    while (arrived < 2) await new Promise(setImmediate);
    const more = call("6.6.6.6, 203.0.113.7");
    const error = await more.catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(error), ErrorReason.RATE_LIMITED);
    assert.equal(detailOf(error)?.retryAfterMs, 1_000n);
    assert.deepEqual(refusals, ["address 203.0.113.7"]);
    const others = ["203.0.113.8", "203.0.113.9", "2001:db8::1"].map(call);
    while (arrived < 5) await new Promise(setImmediate);
    answer();
    await Promise.all([...first, ...others]);
    await call("203.0.113.7");
  });
}

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const local = Buffer.concat([SIGNATURE, Buffer.from("20000000", "hex")]);
/** A header of the PROXY protocol for a client with an IPv4 address. */
function proxied(client: string): Buffer {
  const head = Buffer.from("2111000c", "hex");
  const rest = Buffer.from("c0000201c3cb01bb", "hex");
  return Buffer.concat([SIGNATURE, head, Buffer.from(client.split(".").map(Number)), rest]);
}

const PROXY_PROTOCOL = { networks: ["127.0.0.1", "10.0.0.0/8"], proxyProtocol: true };
const ROOM: Maxima = { all: 100, address: 2, network: 4 };

test("the header of the PROXY protocol tells the address of the client", async (t) => {
  const { open, peers } = await bounded(t, ROOM, { trustedProxies: PROXY_PROTOCOL });
  const ask = async (first: string | Buffer) => text(await open("127.0.0.1", first));
  const header = proxied("203.0.113.7");
  assert.match(await ask(Buffer.concat([header, Buffer.from(post)])), /^HTTP\/1\.1 200 OK/);
  const slow = await open("127.0.0.1", "");
  for (const byte of header) {
    slow.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  slow.write(post);
  assert.match(await text(slow), /^HTTP\/1\.1 200 OK/);
  assert.match(await ask(Buffer.concat([local, Buffer.from(post)])), /^HTTP\/1\.1 200 OK/);
  const forged = post.replace("Host:", "X-Forwarded-For: 6.6.6.6\r\nHost:");
  await ask(Buffer.concat([header, Buffer.from(forged)]));
  const chained = post.replace("Host:", "X-Forwarded-For: 203.0.113.9\r\nHost:");
  await ask(Buffer.concat([proxied("10.1.2.3"), Buffer.from(chained)]));
  assert.deepEqual(peers, [
    "203.0.113.7",
    "203.0.113.7",
    "127.0.0.1",
    "203.0.113.7",
    "203.0.113.9",
  ]);
});

test("HTTP/2 works after the header of the PROXY protocol", async (t) => {
  const { open, peers, port } = await bounded(t, ROOM, { trustedProxies: PROXY_PROTOCOL });
  const socket = await open("127.0.0.1", proxied("203.0.113.7"));
  const session = connectHttp2(`http://127.0.0.1:${port}`, { createConnection: () => socket });
  const headers = { ":method": "POST", ":path": CALL, "content-type": "application/json" };
  const request = session.request(headers);
  request.end("{}");
  assert.match(await text(request), /jwksJson/);
  session.close();
  assert.deepEqual(peers, ["203.0.113.7"]);
});

test("connections with the header of the PROXY protocol count for their client", async (t) => {
  const { open, refusals } = await bounded(t, ROOM, { trustedProxies: PROXY_PROTOCOL });
  const first = Buffer.concat([proxied("203.0.113.7"), HTTP2]);
  for (let count = 0; count < 2; count++) await once(await open("127.0.0.1", first), "data");
  await closed(await open("127.0.0.1", first));
  assert.deepEqual(refusals, ["address 203.0.113.7"]);
  const other = await open("127.0.0.1", Buffer.concat([proxied("203.0.113.8"), Buffer.from(post)]));
  assert.match(await text(other), /^HTTP\/1\.1 200 OK/);
});

test("without a valid header of a trusted proxy, a connection is closed", async (t) => {
  const clock = new ManualClock();
  const { open, refusals, peers } = await bounded(t, ROOM, {
    trustedProxies: PROXY_PROTOCOL,
    clock,
  });
  await closed(await open("127.0.0.1", post));
  const stranger = await open(
    "127.0.0.2",
    Buffer.concat([proxied("203.0.113.7"), Buffer.from(post)]),
  );
  await closed(stranger);
  const late = await open("127.0.0.1", SIGNATURE);
  while (clock.waiting === 0) await new Promise(setImmediate);
  const gone = closed(late);
  clock.advance(5_000);
  await gone;
  assert.deepEqual(refusals, [
    "proxy-header 127.0.0.1",
    "proxy-header 127.0.0.2",
    "proxy-header 127.0.0.1",
  ]);
  assert.deepEqual(peers, []);
});

test("new HTTP/2 connections of one address begin at a pace, those of others at once", async (t) => {
  const clock = new ManualClock();
  const maxima = { all: 200, address: 100, network: 100 };
  const { open } = await bounded(t, maxima, { clock });
  const begun = new Set<Socket>();
  const openHttp2 = async (from: string) => {
    const socket = await open(from, HTTP2);
    // The server begins with its settings.
    socket.once("data", () => begun.add(socket));
    return socket;
  };
  await Promise.all(Array.from({ length: 25 }, () => openHttp2(ATTACKER)));
  while (begun.size < 20) await new Promise(setImmediate);
  const honest = await openHttp2(HONEST);
  while (!begun.has(honest)) await new Promise(setImmediate);
  assert.equal(begun.size, 21);
  clock.advance(250);
  while (begun.size < 26) await new Promise(setImmediate);
});

test("TLS handshakes are throttled per address, and those of other addresses are not delayed", async (t) => {
  const clock = new ManualClock();
  const metrics = new Metrics();
  const maxima = { all: 1_000, address: 1_000, network: 1_000 };
  const bounds = createConnectionBounds({ maxima, metrics, refused() {} });
  const proxies = proxyChain({});
  const { handshake } = createAdmission({ bounds, proxies, proxyProtocol: false, clock });
  const begun: Record<string, number> = { [ATTACKER]: 0, [HONEST]: 0 };
  const connect = (address: string) => {
    const socket = new Socket();
    t.after(() => socket.destroy());
    Object.defineProperty(socket, "remoteAddress", { value: address });
    handshake(socket, () => {
      begun[address]! += 1;
    });
  };
  const settled = () => new Promise(setImmediate);
  for (let i = 0; i < 300; i++) connect(ATTACKER);
  connect(HONEST);
  await settled();
  assert.deepEqual(begun, { [ATTACKER]: 200, [HONEST]: 1 });
  clock.advance(500);
  await settled();
  assert.deepEqual(begun, { [ATTACKER]: 250, [HONEST]: 1 });
});
