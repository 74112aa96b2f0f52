import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { proxyChain } from "#platform/client-address.ts";
import { createConnectionBounds, type Maxima } from "#platform/connections/connection-bounds.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import { Metrics } from "#platform/metrics.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";
import { createAdmissions } from "./admissions.ts";

const ATTACKER = "127.0.0.66";
const HONEST = "127.0.0.7";
const MAXIMA: Maxima = { all: 40, address: 4, network: 8 };
const DIRECT = { publicAddress: "ws://connect.example" };
const proof = createPeerProof(["a secret of tests"]);

async function setUp(t: TestContext, config: Parameters<typeof startConnectHarness>[1] = {}) {
  const metrics = new Metrics();
  const bounds = createConnectionBounds({ maxima: MAXIMA, metrics, refused() {} });
  const { port } = await startConnectHarness(t, { ...config, bounds });
  async function dial(from: string): Promise<Socket> {
    const socket = connect({ port, host: "127.0.0.1", localAddress: from });
    socket.on("error", () => {});
    t.after(() => void socket.destroy());
    await once(socket, "connect");
    return socket;
  }
  /** Sends an upgrade with further headers. Returns the connection and the status of its answer. */
  async function upgrade(from: string, headers: (key: string) => string = () => "") {
    const key = randomBytes(16).toString("base64");
    const socket = await dial(from);
    const head = `GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n`;
    socket.write(`${head}${headers(key)}\r\n`);
    const [answer] = await once(socket, "data");
    return { socket, status: Number(/^HTTP\/1\.1 (\d+)/.exec(String(answer))?.[1]) };
  }
  const connections = async () =>
    Number(/^lucky_connections (\d+)$/m.exec(await metrics.text())?.[1]);
  return { dial, upgrade, connections };
}

test("idle connections of one address to connect's own port keep nobody else out", async (t) => {
  const { dial, upgrade, connections } = await setUp(t, { config: DIRECT });
  const idle = await Promise.all(Array.from({ length: 20 }, () => dial(ATTACKER)));
  for (const socket of idle) socket.resume();
  while (idle.filter((socket) => socket.closed).length < 16) await new Promise(setImmediate);
  assert.equal(await connections(), 4);
  assert.equal((await upgrade(HONEST)).status, 101);
});

test("the WebSockets of one address are bounded, and a closed one makes room", async (t) => {
  const { dial, upgrade, connections } = await setUp(t, { config: DIRECT });
  const opened = [];
  for (let count = 0; count < 4; count++) opened.push(await upgrade(HONEST));
  assert.deepEqual(
    opened.map(({ status }) => status),
    [101, 101, 101, 101],
  );
  const more = await dial(HONEST);
  more.resume();
  await once(more, "close");
  opened[0]!.socket.destroy();
  while ((await connections()) > 3) await new Promise(setImmediate);
  assert.equal((await upgrade(HONEST)).status, 101);
});

test("the WebSockets that a gateway proves have no maximum for the gateway's address", async (t) => {
  const { upgrade } = await setUp(t, { config: DIRECT });
  const address = "203.0.113.7";
  const prove = (key: string) => `${PEER_HEADER}: ${proof.prove({ address, key })}\r\n`;
  for (let count = 0; count < 10; count++) {
    assert.equal((await upgrade("127.0.0.1", prove)).status, 101);
  }
});

for (const config of [DIRECT, {}]) {
  const port = "publicAddress" in config ? "a port for devices" : "a port for gateways";
  test(`the refused upgrades of a gateway take no places of ${port}`, async (t) => {
    const { upgrade, connections } = await setUp(t, { config });
    const refused = (key: string) =>
      `${PEER_HEADER}: ${proof.prove({ address: "203.0.113.7", key })}\r\nSec-WebSocket-Protocol: other\r\n`;
    for (let count = 0; count < 3; count++) {
      assert.equal((await upgrade("127.0.0.1", refused)).status, 400);
    }
    assert.equal(await connections(), 0);
  });
}

test("behind a trusted proxy, the WebSockets of each device are bounded", async (t) => {
  const config = { ...DIRECT, trustedProxies: ["127.0.0.1"] };
  const { upgrade } = await setUp(t, { config });
  const from = (client: string) => () => `X-Forwarded-For: ${client}\r\n`;
  for (let count = 0; count < 4; count++) {
    assert.equal((await upgrade("127.0.0.1", from("6.6.6.6, 203.0.113.7"))).status, 101);
  }
  assert.equal((await upgrade("127.0.0.1", from("203.0.113.7"))).status, 429);
  assert.equal((await upgrade("127.0.0.1", from("203.0.113.8"))).status, 101);
});

test("without a public address, only the number of all connections is bounded", async (t) => {
  const { dial, upgrade } = await setUp(t);
  for (let count = 0; count < 10; count++) {
    assert.equal((await upgrade(HONEST)).status, 101);
  }
  await Promise.all(Array.from({ length: 30 }, () => dial(HONEST)));
  const more = await dial(HONEST);
  more.resume();
  await once(more, "close");
});

test("a connection that never becomes a WebSocket gives its place back", () => {
  const clock = new ManualClock();
  const bounds = createConnectionBounds({ maxima: MAXIMA, metrics: new Metrics(), refused() {} });
  const proxies = proxyChain({});
  const admissions = createAdmissions({ bounds, byAddress: true, proxies, clock });
  for (let count = 0; count < 4; count++) assert.equal(admissions.accept(ATTACKER), true);
  assert.equal(admissions.accept(ATTACKER), false);
  const session = admissions.upgrade(ATTACKER, ATTACKER);
  clock.advance(24_000);
  assert.equal(clock.waiting, 0);
  for (let count = 0; count < 3; count++) assert.equal(admissions.accept(ATTACKER), true);
  assert.equal(admissions.accept(ATTACKER), false);
  session!.release();
  assert.equal(admissions.accept(ATTACKER), true);
});
