import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect as connectTcp, type Socket } from "node:net";
import { after, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { systemClock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { createConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { createLog } from "#platform/log.ts";
import { loadMeshTls, type MeshTls, type MeshTlsFiles } from "#platform/mesh-tls.ts";
import { Metrics } from "#platform/metrics.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { gatewayConfig } from "../../services/gateway/config.ts";
import { startGateway } from "../../services/gateway/service.ts";
import { startConnectHarness } from "../connect/connect-harness.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { testAuthority } from "./certificates.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const authority = await testAuthority({ after });
const harness = await startConnectHarness({ after }, { tls: await authority.issue("connect") });
const gatewayFiles = await authority.issue("gateway");

/** A gateway in front of the instance. Returns its URL. */
async function startFront(tls: MeshTls): Promise<string> {
  const unused = localTransport([], []);
  const metrics = new Metrics();
  const maxima = { all: 100, address: 100, network: 100 };
  const gateway = await startGateway({
    config: defaultsOf(gatewayConfig),
    log,
    metrics,
    bounds: createConnectionBounds({ maxima, metrics, refused() {} }),
    registry: harness.registry,
    verifier: harness.issuer.verifier,
    transports: { auth: unused, server: unused },
    secret: "a secret of tests",
    tls,
    clock: systemClock,
  });
  const server = createServer().on("upgrade", gateway.upgrade).listen(0, "127.0.0.1");
  await once(server, "listening");
  after(async () => {
    await gateway.stop();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends an upgrade to connect. Returns the first line of its answer, or why there is none. */
function upgradeOver(socket: Socket): Promise<string> {
  socket.write("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
  socket.write("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  return new Promise((resolve) => {
    socket.on("error", () => {});
    socket.once("close", () => resolve("closed"));
    socket.once("data", (chunk) => {
      resolve(String(chunk).split("\r\n")[0]!);
      socket.destroy();
    });
  });
}

const to = () => ({ port: harness.port, host: "127.0.0.1", servername: "connect" });

test("a session runs through the tunnel of a gateway over TLS", async () => {
  const url = await startFront(loadMeshTls(gatewayFiles));
  const device = await RawDevice.hello(url, await harness.issuer.token());
  await device.roundTrip();
  await device.close();
});

test("a gateway opens no tunnel to an instance whose certificate another authority signed", async (t) => {
  const others = await testAuthority(t);
  const { caFile } = await others.issue("gateway");
  const url = await startFront(loadMeshTls({ ...gatewayFiles, caFile }));
  await assert.rejects(RawDevice.hello(url, await harness.issuer.token()), /no WebSocket at/);
});

test("connect refuses plain text, and TLS without a certificate of its authority", async (t) => {
  const others = await testAuthority(t);
  const foreign = await others.issue("gateway");
  const withFiles = ({ certFile, keyFile }: MeshTlsFiles) =>
    connectTls({
      ...to(),
      ca: readFileSync(gatewayFiles.caFile),
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
    });
  const answers = {
    valid: await upgradeOver(withFiles(gatewayFiles)),
    plain: await upgradeOver(connectTcp(to())),
    none: await upgradeOver(connectTls({ ...to(), ca: readFileSync(gatewayFiles.caFile) })),
    foreign: await upgradeOver(withFiles(foreign)),
  };
  assert.deepEqual(answers, {
    valid: "HTTP/1.1 101 Switching Protocols",
    plain: "closed",
    none: "HTTP/1.1 403 Forbidden",
    foreign: "closed",
  });
});
