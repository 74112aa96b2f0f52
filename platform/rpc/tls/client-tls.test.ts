import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { after, type TestContext, test } from "node:test";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { CertificateFiles } from "#platform/certificates/certificate-pair.ts";
import { openCertificate } from "#platform/certificates/served-certificate.ts";
import { systemClock } from "#platform/clock.ts";
import { createConnectionBounds, type Refusal } from "#platform/connections/connection-bounds.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import {
  closed,
  dial,
  exchange,
  LONG_ANSWER,
  post,
  start,
} from "#platform/rpc/serving/listen.fixture.ts";
import type { ListenOptions } from "#platform/rpc/serving/listen.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { testAuthority } from "../../../test/tls/certificates.ts";

const authority = await testAuthority({ after });
const files = await authority.issue("127.0.0.1", "gateway.example");
const ca = readFileSync(files.caFile);
const TEXT = "this port speaks TLS: use https:// and wss://";

async function startSecure(
  t: TestContext,
  options: Partial<ListenOptions> & { all?: number; files?: CertificateFiles } = {},
) {
  const { clock = systemClock, all = 100 } = options;
  const metrics = new Metrics();
  const refusals: (readonly [Refusal, string | undefined])[] = [];
  const { log } = keptLog();
  const certificate = await openCertificate({ files: options.files ?? files, clock, log, metrics });
  t.after(() => certificate.close());
  const bounds = createConnectionBounds({
    maxima: { all, address: 100, network: 100 },
    metrics,
    refused: (reason, address) => void refusals.push([reason, address]),
  });
  const server = await start(t, { ...options, certificate, bounds });
  return { ...server, certificate, refusals };
}

/** A connection of TLS, after its handshake. */
async function secured(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ port, host: "127.0.0.1", ca, ...options });
  await once(socket, "secureConnect");
  socket.on("error", () => {});
  return socket;
}

/** The first bytes of a client's handshake. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
    connectTls({ socket }).on("error", () => {});
  });
}

/** A header of the PROXY protocol for a client. */
function proxyHeader(client: readonly number[]): Buffer {
  const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "latin1");
  return Buffer.concat([signature, Buffer.from([...client, 127, 0, 0, 1, 1, 1, 2, 2])]);
}

test("one port serves gRPC over HTTP/2 and Connect over HTTP/1.1 with TLS", async (t) => {
  const { port } = await startSecure(t);
  const common = { baseUrl: `https://127.0.0.1:${port}`, nodeOptions: { ca } };
  for (const transport of [
    createGrpcTransport(common),
    createConnectTransport({ ...common, httpVersion: "1.1", useBinaryFormat: false }),
    createConnectTransport({ ...common, httpVersion: "2" }),
  ]) {
    const { jwksJson } = await createClient(AuthService, transport).getJwks({});
    assert.equal(jwksJson, LONG_ANSWER);
  }
});

test("client and server negotiate the protocol, and TLS 1.2 at least", async (t) => {
  const { port, refusals } = await startSecure(t);
  const negotiated = async (options: ConnectionOptions) => {
    const socket = await secured(port, options);
    const { alpnProtocol } = socket;
    const version = socket.getProtocol();
    socket.destroy();
    return [alpnProtocol, version];
  };
  const both = ["h2", "http/1.1"];
  assert.deepEqual(await negotiated({ ALPNProtocols: both }), ["h2", "TLSv1.3"]);
  assert.deepEqual(await negotiated({ ALPNProtocols: ["http/1.1"], maxVersion: "TLSv1.2" }), [
    "http/1.1",
    "TLSv1.2",
  ]);
  assert.deepEqual(await negotiated({}), [false, "TLSv1.3"]);
  const ciphers = "DEFAULT@SECLEVEL=0";
  const older = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers } as const;
  await assert.rejects(negotiated(older), /alert|EPROTO|ECONNRESET/);
  await assert.rejects(negotiated({ ALPNProtocols: ["unknown"] }), /alert|EPROTO|ECONNRESET/);
  assert.deepEqual(refusals, [
    ["tls-handshake", "127.0.0.1"],
    ["tls-handshake", "127.0.0.1"],
  ]);
});

test("a handshake that is cut, and garbage after one, end only their own connection", async (t) => {
  const { port, refusals } = await startSecure(t);
  const cut = await dial(port);
  cut.write(await clientHello());
  await once(cut, "data");
  cut.resetAndDestroy();

  const raw = await dial(port);
  const garbled = connectTls({ socket: raw, ca, host: "127.0.0.1" });
  garbled.on("error", () => {});
  garbled.write("GET / HTTP/1.1\r\nHost: lucky\r\n\r\n");
  await once(garbled, "data");
  // Writes to the TCP connection, without encryption.
  writeSync((raw as unknown as { _handle: { fd: number } })._handle.fd, Buffer.alloc(64, 0x55));
  await closed(garbled);

  const socket = await secured(port);
  socket.end(post);
  assert.match(await text(socket), /^HTTP\/1\.1 200 OK/);
  assert.deepEqual(refusals, [["tls-handshake", "127.0.0.1"]]);
});

test("a client without TLS is told to use it, and is counted", async (t) => {
  const { port, refusals } = await startSecure(t);
  const answer = await exchange(port, post);
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.ok(answer.includes(`"message":"${TEXT}"`), answer);

  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const [, , debugData] = await once(session, "goaway");
  assert.equal(String(debugData), TEXT);
  session.destroy();
  assert.deepEqual(
    refusals.map(([reason]) => reason),
    ["plain-text", "plain-text"],
  );
});

test("a handshake that times out is closed and counted, and its slot is released", async (t) => {
  const clock = new ManualClock(Date.now());
  const { port, refusals } = await startSecure(t, { clock, all: 2 });
  const [silent, slow] = [await dial(port), await dial(port)];
  const third = await dial(port);
  await closed(third);
  slow.write(await clientHello());
  await once(slow, "data");
  clock.advance(10_000);
  await Promise.all([closed(silent), closed(slow)]);
  assert.deepEqual(refusals, [
    ["all", "127.0.0.1"],
    ["tls-handshake", "127.0.0.1"],
  ]);
  const socket = await secured(port);
  socket.destroy();
});

test("the header of the PROXY protocol comes before TLS, and has the client's address", async (t) => {
  const { port, refusals, lines } = await startSecure(t, {
    trustedProxies: { networks: ["127.0.0.1"], proxyProtocol: true },
  });
  const answered = async (client: readonly number[]) => {
    const raw = await dial(port);
    raw.write(proxyHeader(client));
    const socket = connectTls({ socket: raw, ca, host: "127.0.0.1" });
    socket.on("error", () => {});
    socket.end(post);
    return text(socket);
  };
  assert.match(await answered([203, 0, 113, 7]), /^HTTP\/1\.1 200 OK/);
  assert.equal(lines.at(-1)?.peer, "203.0.113.7");
  const bare = connectTls({ port, host: "127.0.0.1", ca });
  bare.on("error", () => {});
  await closed(bare);
  assert.deepEqual(refusals.at(-1), ["proxy-header", "127.0.0.1"]);
});

test("after a renewal, open connections stay, and new ones get the new certificate", async (t) => {
  const [own, renewed] = [await authority.issue("127.0.0.1"), await authority.issue("127.0.0.1")];
  const { port, certificate } = await startSecure(t, { files: own });
  const open = await secured(port);
  const before = open.getPeerCertificate().serialNumber;
  await copyFile(renewed.certFile, own.certFile);
  await copyFile(renewed.keyFile, own.keyFile);
  await certificate.refresh();
  const next = await secured(port);
  assert.notEqual(next.getPeerCertificate().serialNumber, before);
  next.destroy();
  open.end(post);
  assert.match(await text(open), /^HTTP\/1\.1 200 OK/);
});

test("a stop does not wait for a handshake", async (t) => {
  const { port, server } = await startSecure(t);
  const socket = await dial(port);
  socket.write(Buffer.from([0x16, 3, 1]));
  await server.close();
  await closed(socket);
});
