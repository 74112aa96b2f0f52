import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { after, test } from "node:test";
import { connect, getCACertificates, setDefaultCACertificates } from "node:tls";
import { type Client, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { reasonOf } from "#platform/errors.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import { freePorts } from "../scripts/ports.ts";
import { authConfig } from "../services/auth/config.ts";
import { connectConfig } from "../services/connect/config.ts";
import { startNginx } from "./backends/backends.ts";
import { testAuthority } from "./tls/certificates.ts";
import { clientFrom, people } from "./world/people.ts";
import { startWorld } from "./world/world.ts";

const TIMEOUT = 120_000;
const text = readFileSync(join(import.meta.dirname, "../k8s/edge/nginx.conf"), "utf8");

const world = await startWorld(
  { after },
  { mode: "embedded", settings: { LUCKY_GATEWAY_TRUSTED_PROXIES: "127.0.0.1/32" } },
);
const gatewayPort = Number(new URL(world.url).port);
const { certFile, keyFile, caFile } = await (await testAuthority({ after })).issue("localhost");
setDefaultCACertificates([...getCACertificates("default"), readFileSync(caFile, "utf8")]);
const [plainPort, healthPort, ...otherPorts] = (await freePorts(4)) as [
  number,
  number,
  ...number[],
];

/** The committed configuration, with the addresses and paths of this test, and further changes. */
function configured(
  { port, dir }: { readonly port: number; readonly dir: string },
  [plain, health]: readonly number[],
  further: Readonly<Record<string, string>> = {},
): string {
  const changes = {
    ...further,
    " /tmp/": ` ${dir}/`,
    "server gateway:9191": `server 127.0.0.1:${gatewayPort}`,
    "listen 8080": `listen 127.0.0.1:${plain}`,
    "listen 127.0.0.1:8081": `listen 127.0.0.1:${health}`,
    "listen 8443": `listen 127.0.0.1:${port}`,
    "/run/secrets/edge_certificate": certFile,
    "/run/secrets/edge_key": keyFile,
  };
  return Object.entries(changes).reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), from);
    return changed.replaceAll(from, to);
  }, text);
}
const nginx = await startNginx((at) => configured(at, [plainPort, healthPort]));
after(() => nginx.close());

const baseUrl = `https://localhost:${nginx.port}`;
const edge = { url: baseUrl };

/** Every protocol of calls, by its name. */
const transports: Readonly<Record<string, Transport>> = {
  "Connect over HTTP/1.1": createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect over HTTP/2": createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect over HTTP/2 with JSON": createConnectTransport({
    baseUrl,
    httpVersion: "2",
    useBinaryFormat: false,
  }),
  gRPC: createGrpcTransport({ baseUrl }),
  "gRPC-Web over HTTP/1.1": createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
};

/** Value of a directive, in seconds or as written. */
function directive(name: string): string {
  const values = [...text.matchAll(new RegExp(`^\\s*${name} (.+?)s?;`, "gm"))].map(([, it]) => it!);
  assert.equal(new Set(values).size, 1, name);
  return values[0]!;
}

for (const [name, transport] of Object.entries(transports))
  test(`calls, their errors and streams pass nginx: ${name}`, { timeout: TIMEOUT }, async () => {
    const auth = createClient(AuthService, transport);
    const users = createClient(UserService, transport);
    for (let call = 0; call < 5; call++) assert.ok((await auth.getPublicKey({})).keyId);
    const reason = await users.getProfile({ userId: "1" }).then(() => undefined, reasonOf);
    assert.equal(reason, ErrorReason.TOKEN_INVALID);
    await firstAnswerOfStream(auth);
  });

/** The first answer arrives while the stream stays open: nginx buffers nothing. */
async function firstAnswerOfStream(auth: Client<typeof AuthService>): Promise<void> {
  const device = { deviceId: "a-screen", deviceClass: DeviceClass.DESKTOP };
  const { qrLoginId, secret } = await auth.createQrLogin({ device });
  const abort = new AbortController();
  const credentials = { qrLoginId, secret, deviceId: device.deviceId };
  const answers = auth.watchQrLogin(credentials, { signal: abort.signal });
  const stream = answers[Symbol.asyncIterator]();
  assert.ok((await stream.next()).value?.qrLogin);
  abort.abort();
  await assert.rejects(stream.next(), ConnectError);
}

test("nginx reuses its connections to the gateway, separately for gRPC and HTTP/1.1", {
  timeout: TIMEOUT,
}, async () => {
  const alternating = ["Connect over HTTP/1.1", "gRPC"].map((name) =>
    createClient(AuthService, transports[name]!),
  );
  for (let call = 0; call < 30; call++) await alternating[call % 2]!.getPublicKey({});
  // Columns: local and remote address, state (01: established, 06: time-wait), all in hexadecimal.
  const port = gatewayPort.toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync("/proc/net/tcp", "utf8").split("\n");
  const states = rows.flatMap((row) => {
    const [, , remote, state] = row.trim().split(/\s+/);
    return remote?.endsWith(`:${port}`) ? [state] : [];
  });
  assert.ok(states.includes("01"), `no connection is kept: ${states}`);
  const ended = states.filter((state) => state === "06").length;
  assert.ok(ended < 15, `${ended} connections have ended`);
});

test("two people hold a conversation over WebSockets through nginx", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(edge, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [from, to] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([from.client.connect(), to.client.connect()]);
  const { conversationId } = await from.client.send({ userId: ben!.userId }, "through the edge");
  await to.until(() => to.texts(conversationId).length === 1);
  assert.deepEqual(to.texts(), ["through the edge"]);
});

test("the gateway sees the address of the client, and no forged one", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(edge, "ana");
  const { refreshToken } = await ana!.login();
  const nodeOptions = { localAddress: "127.1.2.3" };
  const auth = clientFrom({ url: baseUrl, nodeOptions }, AuthService);
  await auth.refresh({ refreshToken }, { headers: { "x-forwarded-for": "203.0.113.9" } });
  const sql = "SELECT coarse_address FROM auth.login WHERE user_id = $1";
  const { rows } = await world.pool.query(sql, [ana!.userId]);
  assert.deepEqual(rows, [{ coarse_address: "127.1.2.0/24" }]);
});

test("behind a load balancer that sends the PROXY protocol, the gateway sees the client's address", {
  timeout: TIMEOUT,
}, async (t) => {
  // The lines that the comment of the configuration tells to add.
  const behind = await startNginx(
    (at) =>
      configured(at, otherPorts, {
        "listen 8443 ssl http2;": "listen 8443 ssl http2 proxy_protocol;",
        "#   set_real_ip_from 10.0.5.0/24;": "set_real_ip_from 127.0.0.0/8;",
        "#   real_ip_header proxy_protocol;": "real_ip_header proxy_protocol;",
      }),
    { header: "PROXY UNKNOWN\r\n" },
  );
  t.after(() => behind.close());
  const [ana] = await people(edge, "ana");
  const { refreshToken } = await ana!.login();
  const balancer = connectPlain(behind.port, "127.0.0.1");
  balancer.write("PROXY TCP4 203.0.113.77 198.51.100.1 40000 443\r\n");
  const socket = connect({
    socket: balancer,
    servername: "localhost",
    ALPNProtocols: ["http/1.1"],
  });
  const body = JSON.stringify({ refreshToken });
  const { name } = rulesOf(AuthService.method.refresh);
  socket.write(
    `POST /${name} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
      `x-forwarded-for: 192.0.2.9\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
  assert.match(await textOf(socket), /^HTTP\/1\.1 200 /);
  const sql = "SELECT coarse_address FROM auth.login WHERE user_id = $1";
  const { rows } = await world.pool.query(sql, [ana!.userId]);
  assert.deepEqual(rows, [{ coarse_address: "203.0.113.0/24" }]);
  // Without the header, nginx closes the connection.
  const without = connect({ host: "127.0.0.1", port: behind.port, servername: "localhost" });
  await assert.rejects(once(without, "secureConnect"));
});

test("nginx speaks TLS 1.2 and 1.3, prefers HTTP/2, and redirects plain HTTP", {
  timeout: TIMEOUT,
}, async () => {
  const negotiated = (version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
    new Promise<string>((resolve, reject) => {
      const options = {
        minVersion: version,
        maxVersion: version,
        servername: "localhost",
      } as const;
      // The lowest security level: otherwise this side refuses TLS 1.1 itself.
      const ciphers = "DEFAULT@SECLEVEL=0";
      const ALPNProtocols = ["http/1.1", "h2"];
      const socket = connect({
        host: "127.0.0.1",
        port: nginx.port,
        ciphers,
        ALPNProtocols,
        ...options,
      });
      socket.on("error", reject);
      socket.on("secureConnect", () => {
        resolve(`${socket.getProtocol()} ${socket.alpnProtocol}`);
        socket.destroy();
      });
    });
  assert.equal(await negotiated("TLSv1.2"), "TLSv1.2 h2");
  assert.equal(await negotiated("TLSv1.3"), "TLSv1.3 h2");
  await assert.rejects(negotiated("TLSv1.1"), /alert protocol version/);

  const location = await new Promise((resolve, reject) => {
    const options = { port: plainPort, path: "/docs?a=b", headers: { host: "im.example" } };
    const redirected = request(options, (answer) => {
      answer.resume();
      resolve([answer.statusCode, answer.headers.location]);
    });
    redirected.on("error", reject).end();
  });
  assert.deepEqual(location, [308, "https://im.example/docs?a=b"]);
});

test("a request that is too large gets the error of the gateway, and a far larger one gets 413 from nginx", {
  timeout: TIMEOUT,
}, async () => {
  const { send } = MessageService.method;
  const { maxRequestBytes } = rulesOf(send);
  const post = async (bytes: number) => {
    const { name } = rulesOf(send);
    const headers = { "content-type": "application/proto" };
    const body = new Uint8Array(bytes);
    const answer = await fetch(`${baseUrl}/${name}`, { method: "POST", headers, body });
    return [answer.status, await answer.text()] as const;
  };
  const [status, own] = await post(maxRequestBytes + 1);
  assert.ok(status >= 400 && own.startsWith("{"), own);
  const [, megabytes] = /^(\d+)m$/.exec(directive("client_max_body_size"))!;
  assert.ok(Number(megabytes) * 1_048_576 > maxRequestBytes);
  assert.equal((await post(Number(megabytes) * 1_048_576 + 1))[0], 413);
});

test("nginx's time-outs exceed a silent session and a QR login, and it closes idle connections before the gateway", () => {
  const heartbeats = (2 * defaultsOf(connectConfig).heartbeatIntervalMs) / 1_000;
  const { qrLoginSeconds } = defaultsOf(authConfig);
  for (const kind of ["proxy", "grpc"])
    for (const side of ["read", "send"]) {
      const seconds = Number(directive(`${kind}_${side}_timeout`));
      assert.ok(seconds > heartbeats && seconds > qrLoginSeconds, `${kind} ${side}: ${seconds}`);
    }
  // The gateway closes an idle connection of HTTP/1.1 after 75 s.
  const kept = [...text.matchAll(/keepalive 64;\s+keepalive_timeout (\d+)s;/g)];
  assert.deepEqual(
    kept.map(([, seconds]) => seconds),
    ["60", "60"],
  );
});
