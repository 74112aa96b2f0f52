import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { userChannel } from "#platform/channels.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { AGREED, allOf, KEY, KEY_HEADER, setUp, textOf, UPGRADE } from "./tunnel.fixture.ts";

test("the head arrives as sent, plus the peer's address and the bytes sent along with it", async (t) => {
  const { dial, arrival } = await setUp(t, { instances: 1 });
  const odd = "X-Odd-CASE: a  b\r\nX-Forwarded-For: 10.0.0.1";
  dial(`${UPGRADE}Lucky-Peer: 10.0.0.1 forged\r\n${odd}\r\n\r\nfirst bytes`);
  const { head, socket } = await arrival(0);
  const peer = createPeerProof(["s"]).prove({ address: "127.0.0.1", key: KEY });
  assert.equal(head, `${UPGRADE}${odd}, 127.0.0.1\r\nlucky-peer: ${peer}\r\n\r\n`);
  const [first] = await once(socket, "data");
  assert.equal(String(first), "first bytes");
});

test("bytes pass both ways untouched, also more than any buffer holds", async (t) => {
  const { dial, arrival } = await setUp(t, { instances: 1 });
  const client = dial(`${UPGRADE}\r\n`);
  const { socket } = await arrival(0);
  const up = Buffer.alloc(16 * 1024 * 1024, "up");
  const down = Buffer.alloc(16 * 1024 * 1024, "down");
  client.end(up);
  socket.end(down);
  const [received, answered] = await Promise.all([allOf(socket), allOf(client)]);
  assert.ok(received.equals(up));
  assert.ok(answered.equals(Buffer.concat([Buffer.from(AGREED), down])));
});

test("a side that has ended its direction still receives from the other", async (t) => {
  const { dial, arrival } = await setUp(t, { instances: 1 });
  const client = dial(`${UPGRADE}\r\n`);
  const { socket } = await arrival(0);
  client.end();
  assert.equal(await textOf(socket), "");
  socket.end("last words");
  assert.equal(await textOf(client), `${AGREED}last words`);
});

for (const [title, endsFirst] of [
  ["connect", (_device, upstream) => upstream.end()],
  ["the device", (device) => device.end()],
] as [string, (device: Socket, upstream: Socket) => void][]) {
  test(`a tunnel that only ${title} ended is closed after a time-out and makes room`, async (t) => {
    const setup = await setUp(t, { instances: 1, maxTunnels: 1 });
    const { dial, arrival, clock, metrics } = setup;
    const device = dial(`${UPGRADE}\r\n`);
    const { socket: upstream } = await arrival(0);
    await once(device, "data");
    const rest = Promise.race([textOf(device), textOf(upstream)]);
    endsFirst(device, upstream);
    await rest;
    clock.advance(4_999);
    assert.match(await metrics.text(), /^lucky_gateway_tunnels 1$/m);
    const closed = Promise.all(
      [device, upstream].map((side) => side.readableEnded || textOf(side)),
    );
    clock.advance(1);
    await closed;
    assert.match(await metrics.text(), /^lucky_gateway_tunnels 0$/m);
    dial(`${UPGRADE}\r\n`);
    await arrival(0);
  });
}

for (const [title, writerOf] of [
  ["the device", (_device, upstream) => upstream],
  ["connect", (device) => device],
] as [string, (device: Socket, upstream: Socket) => Socket][]) {
  test(`${title} cannot hold a tunnel open by not reading`, async (t) => {
    const { dial, arrival, clock, metrics } = await setUp(t, { instances: 1 });
    const device = dial(`${UPGRADE}\r\n`);
    const { socket: upstream } = await arrival(0);
    // More than all buffers hold, so the gateway never reads the end that follows.
    writerOf(device, upstream).end(Buffer.alloc(64 * 1024 * 1024));
    while (!/^lucky_gateway_tunnels 0$/m.test(await metrics.text())) {
      clock.advance(1_000);
      await new Promise(setImmediate);
    }
  });
}

test("when one side breaks, the tunnel closes the other side", async (t) => {
  const { dial, arrival } = await setUp(t, { instances: 1 });
  const first = dial(`${UPGRADE}\r\n`);
  const broken = await arrival(0);
  await once(first, "data");
  broken.socket.resetAndDestroy();
  assert.equal(await textOf(first), "");

  const second = dial(`${UPGRADE}\r\n`);
  const { socket } = await arrival(0);
  second.resetAndDestroy();
  assert.equal(await textOf(socket), "");
});

test("a hint routes to its instance, a forged hint to the least loaded instance", async (t) => {
  const { dial, arrival, hints } = await setUp(t, { instances: 2 });
  dial(`${UPGRADE}\r\n`.replace("/ws", `/ws?hint=${hints.seal("connect-1")}`));
  await arrival(1);
  dial(`${UPGRADE}\r\n`.replace("/ws", "/ws?hint=connect-1"));
  await arrival(0);
});

test("a token routes to the instance that has its user's sessions", async (t) => {
  const { dial, arrival, upstreams, issuer } = await setUp(t, { instances: 2 });
  await upstreams[1]!.lease.join([userChannel("42")]);
  dial(`${UPGRADE}Authorization: Bearer ${await issuer.token({ sub: "42" })}\r\n\r\n`);
  await arrival(1);
});

test("an unreachable instance is skipped", async (t) => {
  const { dial, arrival, upstreams } = await setUp(t, { instances: 2 });
  upstreams[0]!.server.close();
  dial(`${UPGRADE}\r\n`);
  await arrival(1);
});

test("an instance that does not answer the upgrade in time is skipped", async (t) => {
  const { dial, request, arrival, clock } = await setUp(t, { instances: 2 });
  const client = dial(`${UPGRADE}\r\n`);
  const stuck = await request(0);
  const rest = textOf(stuck.socket);
  clock.advance(2_000);
  (await arrival(1)).socket.end("hello");
  assert.equal(await rest, "");
  client.end();
  assert.equal(await textOf(client), `${AGREED}hello`);
});

test("a full or stopping instance is skipped; when all are, its answer reaches the device", async (t) => {
  const { dial, request, arrival } = await setUp(t, { instances: 2 });
  const full = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull";
  /** Answers 503 in two parts. */
  const refuse = async (at: number) => {
    const { socket } = await request(at);
    socket.setNoDelay(true);
    socket.write(full.slice(0, 11));
    socket.end(full.slice(11));
  };
  const client = dial(`${UPGRADE}\r\n`);
  await refuse(0);
  (await arrival(1)).socket.end("hello");
  client.end();
  assert.equal(await textOf(client), `${AGREED}hello`);

  const last = dial(`${UPGRADE}\r\n`);
  await refuse(0);
  await refuse(1);
  assert.equal(await textOf(last), full);
});

test("after a refused upgrade, no second request reaches the instance", async (t) => {
  const { dial, request, clock } = await setUp(t, { instances: 1 });
  const client = dial(`${UPGRADE}\r\nGET /first HTTP/1.1\r\nHost: x\r\n\r\n`);
  const { socket } = await request(0);
  const answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
  socket.write(answer);
  const [received] = await once(client, "data");
  assert.equal(String(received), answer);
  client.write("GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
  const rest = textOf(socket);
  clock.advance(1_000);
  assert.equal(await rest, "");
});

test("behind a trusted proxy, the tunnels of each client are bounded", async (t) => {
  const { dial, arrival, clock } = await setUp(t, {
    instances: 1,
    trustedProxies: { networks: ["127.0.0.1"] },
    maxima: { all: 10, address: 1, network: 1 },
  });
  const from = (client: string) => dial(`${UPGRADE}X-Forwarded-For: ${client}\r\n\r\n`);
  const first = from("203.0.113.7");
  const { socket } = await arrival(0);
  assert.match(await textOf(from("6.6.6.6, 203.0.113.7")), /^HTTP\/1\.1 429 .*this address/s);
  from("203.0.113.8");
  await arrival(0);
  first.destroy();
  await textOf(socket);
  clock.advance(5_000);
  from("203.0.113.7");
  await arrival(0);
});

const refused: [title: string, request: string, status: RegExp, text: RegExp][] = [
  ["another path", UPGRADE.replace("/ws", "/other"), /^HTTP\/1\.1 404 /, /is at \/ws/],
  ["another protocol", UPGRADE.replace("websocket", "h2c"), /^HTTP\/1\.1 400 /, /WebSocket/],
  ["a token in the URL", UPGRADE.replace("/ws", "/ws?token=x"), /^HTTP\/1\.1 400 /, /Hello frame/],
  [
    "an access token in the URL",
    UPGRADE.replace("/ws", "/ws?a=b&access_token=x"),
    /^HTTP\/1\.1 400 /,
    /Hello frame/,
  ],
  ["an upgrade with two keys", `${UPGRADE}${KEY_HEADER}`, /^HTTP\/1\.1 400 /, /exactly one/],
  ["an upgrade without a key", UPGRADE.replace(KEY_HEADER, ""), /^HTTP\/1\.1 400 /, /exactly one/],
  [
    "an upgrade with a malformed key",
    UPGRADE.replace(KEY, "k"),
    /^HTTP\/1\.1 400 /,
    /16 bytes in base64/,
  ],
  ["an upgrade with two Hosts", `${UPGRADE}Host: y\r\n`, /^HTTP\/1\.1 400 /, /one Host/],
  [
    "an upgrade to another version",
    UPGRADE.replace("Version: 13", "Version: 8"),
    /^HTTP\/1\.1 400 .*\r\nSec-WebSocket-Version: 13\r\n/s,
    /must be "13"/,
  ],
  [
    "an upgrade with a second token",
    `${UPGRADE}Authorization: Bearer x\r\nAuthorization: Bearer y\r\n`,
    /^HTTP\/1\.1 400 /,
    /one Authorization/,
  ],
  ["an upgrade with a body", `${UPGRADE}Content-Length: 5\r\n`, /^HTTP\/1\.1 400 /, /no body/],
  [
    "an upgrade with a chunked body",
    `${UPGRADE}Transfer-Encoding: chunked\r\n`,
    /^HTTP\/1\.1 400 /,
    /no body/,
  ],
  ["an upgrade by POST", UPGRADE.replace("GET", "POST"), /^HTTP\/1\.1 400 /, /GET/],
  ["an upgrade in HTTP/1.0", UPGRADE.replace("1.1", "1.0"), /^HTTP\/1\.1 400 /, /HTTP\/1\.1/],
  ["a forged token", `${UPGRADE}Authorization: Bearer x\r\n`, /^HTTP\/1\.1 401 /, /not valid/],
];

for (const [title, request, status, text] of refused) {
  test(`${title} is refused`, async (t) => {
    const { dial, upstreams } = await setUp(t, { instances: 1 });
    const answer = await textOf(dial(`${request}\r\n`));
    assert.match(answer, status);
    assert.match(answer, text);
    assert.equal(upstreams[0]!.accepted.length, 0);
  });
}

test("the lines about refused tokens are sampled", async (t) => {
  const { log, lines } = keptLog();
  const { dial, clock } = await setUp(t, { instances: 1, log });
  const forged = `${UPGRADE}Authorization: Bearer x\r\n\r\n`;
  for (let n = 0; n < 30; n++) assert.match(await textOf(dial(forged)), /^HTTP\/1\.1 401 /);
  const logged = (event: string) => lines.filter((line) => line.event === event);
  assert.equal(logged("tunnel_unauthenticated").length, 10);
  clock.advance(1_000);
  assert.equal(logged("rpc_lines_suppressed")[0]?.suppressed, 20);
});

test("without a connect instance the answer is 503", async (t) => {
  const { dial } = await setUp(t, { instances: 0 });
  assert.match(await textOf(dial(`${UPGRADE}\r\n`)), /^HTTP\/1\.1 503 .*No connect instance/s);
});

test("beyond maxTunnels the answer is 503", async (t) => {
  const { dial, arrival } = await setUp(t, { instances: 1, maxTunnels: 1 });
  dial(`${UPGRADE}\r\n`);
  await arrival(0);
  assert.match(await textOf(dial(`${UPGRADE}\r\n`)), /^HTTP\/1\.1 503 .*full/s);
});

test("a stopping gateway refuses new sockets, and lets open ones end", async (t) => {
  const { dial, arrival, tunnels, clock } = await setUp(t, { instances: 1 });
  const client = dial(`${UPGRADE}\r\n`);
  const { socket } = await arrival(0);
  const closed = tunnels.close(60_000);
  assert.match(await textOf(dial(`${UPGRADE}\r\n`)), /^HTTP\/1\.1 503 .*stopping/s);
  socket.end("goodbye");
  client.end();
  assert.equal(await textOf(client), `${AGREED}goodbye`);
  // The refused socket stays open for a second.
  clock.advance(1_000);
  await closed;
});

test("a stopping gateway cuts open sockets one after the other", async (t) => {
  const { dial, arrival, tunnels, clock, metrics } = await setUp(t, { instances: 1 });
  const ended: Promise<string>[] = [];
  for (let n = 0; n < 4; n++) {
    const client = dial(`${UPGRADE}\r\n`);
    await arrival(0);
    await once(client, "data");
    ended.push(textOf(client));
  }
  const closed = tunnels.close(60_000);
  for (const [at, rest] of [3, 2, 1, 0].entries()) {
    clock.advance(14_950);
    assert.match(await metrics.text(), new RegExp(`^lucky_gateway_tunnels ${rest + 1}$`, "m"));
    clock.advance(50);
    assert.equal(await ended[at], "");
    assert.match(await metrics.text(), new RegExp(`^lucky_gateway_tunnels ${rest}$`, "m"));
  }
  await closed;
});
