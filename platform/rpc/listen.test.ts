import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "../../gen/grpc/health/v1/health_pb.js";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { HandClock } from "../../test/clock.ts";
import { fail, reasonOf } from "../errors.ts";
import { createLog } from "../log.ts";
import { type ListenOptions, listen } from "./listen.ts";
import { peerAddress } from "./peer.ts";
import { type TestServiceOptions, testService, untilAborted } from "./rpc.fixture.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });
const longAnswer = "x".repeat(300_000);

type Options = Partial<ListenOptions> & { service?: TestServiceOptions };

/** A server that answers GetJwks, repeats ids in BatchGetUsers, refuses GetPublicKey. */
async function start(t: TestContext, { service: methods, ...options }: Options = {}) {
  const service = await testService({
    auth: {
      getJwks: () => ({ jwksJson: longAnswer }),
      getPublicKey() {
        throw fail(ErrorReason.OVERLOADED, "busy", { retryAfterMs: 5 });
      },
    },
    user: {
      batchGetUsers: ({ userIds }) => ({ users: userIds.map((userId) => ({ userId })) }),
    },
    ...methods,
  });
  const { served, interceptors } = service;
  const server = await listen({
    host: "127.0.0.1",
    port: 0,
    served,
    interceptors,
    log,
    graceMs: 2_000,
    ...options,
  });
  t.after(() => server.close());
  return { ...service, server, port: server.port, address: `http://127.0.0.1:${server.port}` };
}

/** Sends bytes, keeps the socket open, and returns everything that comes until the other side ends. */
async function exchange(port: number, ...chunks: (string | Buffer)[]): Promise<string> {
  const socket = await dial(port);
  for (const chunk of chunks) {
    socket.write(chunk);
    await new Promise(setImmediate);
  }
  return text(socket);
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1" });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => {});
  return socket;
}

function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

const call = "/lucky.auth.v1.AuthService/GetJwks";
const post = [
  `POST ${call} HTTP/1.1`,
  "Host: lucky",
  "Content-Type: application/json",
  "Content-Length: 2",
  "Connection: close",
  "",
  "{}",
].join("\r\n");

const protocols: Record<string, (baseUrl: string) => Transport> = {
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
  "gRPC-Web over HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "Connect over HTTP/1.1": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect in JSON": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
};

for (const [protocol, transportTo] of Object.entries(protocols)) {
  test(`${protocol} is answered on the one port: requests, large answers, errors with their reason`, async (t) => {
    const { address, authorized } = await start(t);
    const transport = transportTo(address);
    const auth = createClient(AuthService, transport);
    const user = createClient(UserService, transport);
    assert.equal((await auth.getJwks({})).jwksJson, longAnswer);
    const userIds = Array.from({ length: 100 }, (_, i) => String(i + 1));
    const { users } = await user.batchGetUsers({ userIds }, await authorized());
    assert.deepEqual(
      users.map(({ userId }) => userId),
      userIds,
    );
    const error = await auth.getPublicKey({}).catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(error), ErrorReason.OVERLOADED);
    const other = await user.batchGetUsers({ userIds }).catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(other), ErrorReason.TOKEN_INVALID);
  });
}

test("curl's way works: JSON in, JSON out, and a clear error", async (t) => {
  const { address } = await start(t);
  const headers = { "content-type": "application/json" };
  const ask = (method: string) =>
    fetch(`${address}/lucky.auth.v1.AuthService/${method}`, {
      method: "POST",
      headers,
      body: "{}",
    });
  assert.deepEqual(await (await ask("GetJwks")).json(), { jwksJson: longAnswer });
  const refused = await ask("GetPublicKey");
  assert.equal(refused.status, 429);
  const body = (await refused.json()) as { code: string; message: string };
  assert.equal(body.code, "resource_exhausted");
  assert.equal(body.message, "busy");
  assert.equal((await ask("Nothing")).status, 404);
});

test("the protocol is told however the first bytes are cut", async (t) => {
  const { port } = await start(t);
  assert.match(await exchange(port, ...post), /^HTTP\/1.1 200 OK/);
  assert.match(await exchange(port, post.slice(0, 1), post.slice(1)), /^HTTP\/1.1 200 OK/);

  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  const socket = await dial(port);
  for (const byte of preface) {
    socket.write(byte);
    await new Promise(setImmediate);
  }
  socket.write(settings);
  const frame: Buffer = await new Promise((resolve) => socket.once("data", resolve));
  assert.equal(frame[3], 4, "the server answers with its settings");
  socket.destroy();
});

test("garbage of any kind ends its own connection and nothing else", async (t) => {
  const { port, address } = await start(t);
  const client = createClient(AuthService, createGrpcTransport({ baseUrl: address }));
  const http = (...lines: string[]) => `${lines.join("\r\n")}\r\n\r\n`;
  const garbage: (string | Buffer)[][] = [
    ["\0\0\0\0"],
    ["PRI * HTTP/1.1\r\n\r\n"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Buffer.alloc(64, 0xff)],
    ["PRI * HTTP/2.0\r\n\r\nXX"],
    [Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])],
    [http("GET / HTTP/9.9")],
    [http("GET / HTTP/1.1", "Host: a", "Content-Length: -1")],
    [
      http(
        `POST ${call} HTTP/1.1`,
        "Host: [",
        "Content-Type: application/json",
        "Connection: close",
      ),
    ],
    [http(`POST ${call} HTTP/1.0`, "Content-Type: application/json")],
    [http(`POST ${call} HTTP/1.1`, "Host: a", "Content-Type: text/html", "Connection: close")],
    [
      http(
        `GET ${call}?connect=v1&encoding=proto&message=%ff HTTP/1.1`,
        "Host: a",
        "Connection: close",
      ),
    ],
    [http(`POST //[${call} HTTP/1.1`, "Host: a", "Connection: close")],
  ];
  for (let i = 0; i < 50; i++) garbage.push([randomBytes(1 + ((i * 37) % 4_000)), "\r\n\r\n\r\n"]);
  for (const chunks of garbage) {
    const socket = await dial(port);
    for (const chunk of chunks) socket.write(chunk);
    // Half of the garbage leaves the server waiting for more: end it.
    socket.end();
    await closed(socket);
  }
  assert.equal((await client.getJwks({})).jwksJson, longAnswer);
});

const unreadable = /"code":"invalid_argument","message":"the request is no lucky\.auth\.v1\./;

test("a broken message is an error of that call alone", async (t) => {
  const { address } = await start(t);
  const ask = (type: string, body: Uint8Array<ArrayBuffer> | string) =>
    fetch(`${address}${call}`, { method: "POST", headers: { "content-type": type }, body });
  assert.equal((await ask("application/json", "{")).status, 400);
  const bytes = Uint8Array.of(0xff, 0xff, 0xff);
  const asked = await ask("application/proto", bytes);
  assert.equal(asked.status, 400);
  assert.match(await asked.text(), unreadable);
  const framed = Uint8Array.of(0, 0, 0, 0, bytes.length, ...bytes);
  const web = await ask("application/grpc-web+proto", framed);
  assert.match(await web.text(), /the%20request%20is%20no.*grpc-status: 3\r\n/s);
  const session = connectHttp2(address);
  t.after(() => session.close());
  const stream = session.request({
    ":method": "POST",
    ":path": call,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.resume().end(framed);
  const [trailers] = await once(stream, "trailers");
  assert.equal(trailers["grpc-status"], "3");
  assert.equal((await ask("application/json", "{}")).status, 200);
});

for (const protocol of ["gRPC", "Connect over HTTP/1.1", "Connect over HTTP/2"]) {
  test(`a ${protocol} message beyond 4 MiB is refused, and the client learns it`, async (t) => {
    const clock = new HandClock();
    const { server, address, authorized } = await start(t, { graceMs: 60_000, clock });
    const client = createClient(UserService, protocols[protocol]!(address));
    const key = { case: "userName", value: "x".repeat(8 * 1024 * 1024) } as const;
    const error = await client.getUser({ key }, await authorized()).catch((thrown) => thrown);
    assert.equal(ConnectError.from(error).code, Code.ResourceExhausted, error);
    // What the client did not send any more is given up, so that nothing is left to wait for.
    let closing = true;
    const end = server.close().then(() => {
      closing = false;
    });
    while (closing) {
      clock.advance(2_000);
      await new Promise(setImmediate);
    }
    await end;
  });
}

test("a connection that says nothing is dropped after ten seconds", async (t) => {
  const clock = new HandClock();
  const { port } = await start(t, { clock });
  const silent = await dial(port);
  const hesitant = await dial(port);
  hesitant.write("PRI * H");
  const gone = Promise.all([closed(silent), closed(hesitant)]);
  while (clock.waiting < 2) await new Promise(setImmediate);
  clock.advance(9_999);
  assert.equal(silent.closed || hesitant.closed, false);
  clock.advance(1);
  await gone;
});

test("an HTTP/2 connection on which nothing happens is closed, with what is open on it", async (t) => {
  const { port, address } = await start(t, { idleMs: 50 });
  const silent = await dial(port);
  silent.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  silent.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  const session = connectHttp2(address);
  const unfinished = session.request({
    ":method": "POST",
    ":path": call,
    "content-type": "application/grpc",
    te: "trailers",
  });
  unfinished.on("error", () => {});
  await Promise.all([closed(silent), once(session, "close")]);
});

test("a client that has said all it has to still gets its answer", async (t) => {
  const { port } = await start(t);
  const socket = await dial(port);
  socket.end(post);
  assert.match(await text(socket), /^HTTP\/1.1 200 OK/);
});

test("an HTTP/2 client that ends its half loses the connection", async (t) => {
  const { port } = await start(t);
  const socket = await dial(port);
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  await new Promise((resolve) => socket.once("data", resolve));
  socket.end();
  await closed(socket);
});

test("paths that are no RPC go to the fallback, or are 404", async (t) => {
  const bare = await start(t);
  assert.equal((await fetch(`${bare.address}/hello`)).status, 404);
  const { address } = await start(t, {
    fallback: (req, res) => res.end(`fallback ${req.url}`),
  });
  assert.equal(await (await fetch(`${address}/hello?x=1`)).text(), "fallback /hello?x=1");
});

test("a WebSocket upgrade is handed over with its first bytes, other upgrades are plain requests", async (t) => {
  const { port } = await start(t, {
    onUpgrade: (req, socket, head) => socket.end(`upgraded ${req.url} ${head}`),
    fallback: (_req, res) => res.end("plain"),
  });
  const upgrade = (to: string) =>
    `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: ${to}\r\n\r\n`;
  assert.equal(await exchange(port, `${upgrade("WebSocket")}head`), "upgraded /ws head");
  assert.match(await exchange(port, upgrade("h2c")), /200 OK.*plain/s);
  const bare = await start(t);
  assert.match(await exchange(bare.port, upgrade("websocket")), /^HTTP\/1.1 404/);
});

test("scripts of allowed origins may call, and see what they need", async (t) => {
  const { address } = await start(t, { cors: ["https://app.example"] });
  const preflight = (origin: string) =>
    fetch(`${address}${call}`, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      },
    });
  const allowed = await preflight("https://app.example");
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers.get("access-control-allow-origin"), "https://app.example");
  assert.match(allowed.headers.get("access-control-allow-headers") ?? "", /Authorization/);
  assert.match(allowed.headers.get("access-control-allow-methods") ?? "", /POST/);
  const other = await preflight("https://evil.example");
  assert.equal(other.headers.get("access-control-allow-origin"), null);
  const answer = await fetch(`${address}${call}`, {
    method: "POST",
    headers: { origin: "https://app.example", "content-type": "application/json" },
    body: "{}",
  });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("access-control-allow-origin"), "https://app.example");
  assert.match(answer.headers.get("access-control-expose-headers") ?? "", /Grpc-Status/i);
  const any = await start(t, { cors: ["*"] });
  const open = await fetch(`${any.address}/`, { headers: { origin: "https://evil.example" } });
  assert.equal(open.headers.get("access-control-allow-origin"), "*");
});

test("the caller's address is that of the socket, or what the trusted proxy says", async (t) => {
  const seen: (string | undefined)[] = [];
  const service: TestServiceOptions = {
    auth: {
      getJwks(_request, { values }) {
        seen.push(values.get(peerAddress));
        return {};
      },
    },
  };
  const headers = { "x-forwarded-for": "6.6.6.6, 10.0.0.7" };
  for (const trustForwardedFor of [false, true]) {
    const { address } = await start(t, { service, trustForwardedFor });
    for (const transport of [
      createGrpcTransport({ baseUrl: address }),
      createConnectTransport({ baseUrl: address, httpVersion: "1.1" }),
    ]) {
      await createClient(AuthService, transport).getJwks({}, { headers });
    }
  }
  assert.deepEqual(seen, ["127.0.0.1", "127.0.0.1", "10.0.0.7", "10.0.0.7"]);
});

test("a taken port is a clear error", async (t) => {
  const { port } = await start(t);
  await assert.rejects(start(t, { port }), {
    message: `cannot listen on 127.0.0.1:${port}: the port is taken by another process`,
  });
});

test("the standard health service answers for the process and each service, and tells changes", async (t) => {
  const clock = new HandClock();
  let healthy = true;
  const { address } = await start(t, { health: () => healthy, clock });
  const client = createClient(Health, createGrpcTransport({ baseUrl: address }));
  assert.equal((await client.check({})).status, Status.SERVING);
  assert.equal(
    (await client.check({ service: "lucky.auth.v1.AuthService" })).status,
    Status.SERVING,
  );
  const unknown = await client.check({ service: "nobody" }).catch((thrown: unknown) => thrown);
  assert.equal(ConnectError.from(unknown).code, Code.NotFound);

  const statuses = client.watch({})[Symbol.asyncIterator]();
  assert.equal((await statuses.next()).value?.status, Status.SERVING);
  healthy = false;
  const next = statuses.next();
  while (clock.waiting === 0) await new Promise(setImmediate);
  clock.advance(1_000);
  assert.equal((await next).value?.status, Status.NOT_SERVING);
  assert.equal((await client.check({})).status, Status.NOT_SERVING);
});

for (const protocol of ["gRPC", "Connect over HTTP/1.1"]) {
  test(`close lets a ${protocol} call in work end and takes no new connection`, async (t) => {
    const began = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<object>();
    const { server, address, port } = await start(t, {
      graceMs: 60_000,
      service: {
        auth: {
          getJwks() {
            began.resolve();
            return answer.promise;
          },
        },
      },
    });
    const idle = await dial(port);
    const client = createClient(AuthService, protocols[protocol]!(address));
    const running = client.getJwks({});
    await began.promise;
    const end = server.close();
    await closed(idle);
    await assert.rejects(dial(port), /ECONNREFUSED/);
    answer.resolve({ jwksJson: "done" });
    assert.equal((await running).jwksJson, "done");
    await end;
    await server.close();
  });
}

test("the calls that watch the health are bounded", async (t) => {
  const { address } = await start(t, { health: () => true });
  const client = createClient(Health, createGrpcTransport({ baseUrl: address }));
  const leaving = new AbortController();
  const options = { signal: leaving.signal };
  const watches = Array.from({ length: 100 }, () =>
    client.watch({}, options)[Symbol.asyncIterator](),
  );
  await Promise.all(watches.map((watch) => watch.next()));
  const more = client.watch({}, options)[Symbol.asyncIterator]().next();
  await assert.rejects(more, (error) => reasonOf(error) === ErrorReason.OVERLOADED);
  leaving.abort();
});

test("close does not wait for idle connections, nor longer than the grace for busy ones", async (t) => {
  const began = Promise.withResolvers<void>();
  const { server, address, port } = await start(t, {
    graceMs: 50,
    service: {
      auth: {
        getJwks(_request, { signal }) {
          began.resolve();
          return untilAborted(signal);
        },
        getPublicKey: () => ({}),
      },
    },
    onUpgrade: () => {},
  });
  const keptAlive = createClient(AuthService, protocols["Connect over HTTP/1.1"]!(address));
  await keptAlive.getPublicKey({});
  const webSocket = await dial(port);
  webSocket.write(
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  );
  const stuck = createClient(AuthService, protocols.gRPC!(address)).getJwks({});
  const outcome = stuck.catch((thrown: unknown) => thrown);
  await began.promise;
  await server.close();
  assert.ok((await outcome) instanceof ConnectError);
  await closed(webSocket);
});
