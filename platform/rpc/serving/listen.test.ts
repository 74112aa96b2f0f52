import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "#gen/grpc/health/v1/health_pb.js";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { TestServiceOptions } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, exchange, LONG_ANSWER, protocols, start } from "./listen.fixture.ts";

for (const [protocol, transportTo] of Object.entries(protocols)) {
  test(`${protocol} is served on the shared port: requests, large answers, errors with their reason`, async (t) => {
    const { address, authorized } = await start(t);
    const transport = transportTo(address);
    const auth = createClient(AuthService, transport);
    const user = createClient(UserService, transport);
    assert.equal((await auth.getJwks({})).jwksJson, LONG_ANSWER);
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

test("curl can call: JSON in, JSON out, and a clear error", async (t) => {
  const { address } = await start(t);
  const headers = { "content-type": "application/json" };
  const ask = (method: string) =>
    fetch(`${address}/lucky.auth.v1.AuthService/${method}`, {
      method: "POST",
      headers,
      body: "{}",
    });
  assert.deepEqual(await (await ask("GetJwks")).json(), { jwksJson: LONG_ANSWER });
  const refused = await ask("GetPublicKey");
  assert.equal(refused.status, 429);
  const body = (await refused.json()) as { code: string; message: string };
  assert.equal(body.code, "resource_exhausted");
  assert.equal(body.message, "busy");
  assert.equal((await ask("Nothing")).status, 404);
});

test("paths that are not RPCs are passed to the fallback, or answered with 404", async (t) => {
  const bare = await start(t);
  assert.equal((await fetch(`${bare.address}/hello`)).status, 404);
  const { address } = await start(t, {
    fallback: (req, res) => res.end(`fallback ${req.url}`),
  });
  assert.equal(await (await fetch(`${address}/hello?x=1`)).text(), "fallback /hello?x=1");
});

test("a WebSocket upgrade is passed on with its first bytes, other upgrades are plain requests", async (t) => {
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

test("scripts of allowed origins may call, and can read the headers they need", async (t) => {
  const { address } = await start(t, { cors: ["https://app.example"] });
  const preflight = (origin: string) =>
    fetch(`${address}${CALL}`, {
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
  const session = connectHttp2(address);
  t.after(() => session.close());
  const stream = session.request({
    ":method": "OPTIONS",
    ":path": CALL,
    origin: "https://app.example",
    "access-control-request-method": "POST",
  });
  const [overHttp2] = await once(stream, "response");
  assert.equal(overHttp2[":status"], 204);
  for (const [name, value] of allowed.headers) {
    if (/^(access-control-|vary)/.test(name)) assert.equal(overHttp2[name], value, name);
  }
  const answer = await fetch(`${address}${CALL}`, {
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

test("the caller's address is the socket's address, or the one that trusted proxies forwarded", async (t) => {
  const seen: (string | undefined)[] = [];
  const service: TestServiceOptions = {
    auth: {
      getJwks(_request, { values }) {
        seen.push(values.get(peerAddress));
        return {};
      },
    },
  };
  const headers = { "x-forwarded-for": "6.6.6.6, 203.0.113.7:5000, 10.0.0.7" };
  for (const networks of [[], ["10.0.0.0/8"], ["10.0.0.0/8", "127.0.0.1"]]) {
    const { address } = await start(t, { service, trustedProxies: { networks } });
    for (const transport of [
      createGrpcTransport({ baseUrl: address }),
      createConnectTransport({ baseUrl: address, httpVersion: "1.1" }),
    ]) {
      await createClient(AuthService, transport).getJwks({}, { headers });
    }
  }
  const direct = Array(4).fill("127.0.0.1");
  assert.deepEqual(seen, [...direct, "203.0.113.7", "203.0.113.7"]);
});

test("a taken port causes a clear error", async (t) => {
  const { port } = await start(t);
  await assert.rejects(start(t, { port }), {
    message: `cannot listen on 127.0.0.1:${port}: the port is taken by another process`,
  });
});

test("the standard health service answers for the process and each service, and streams changes", async (t) => {
  const clock = new ManualClock();
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
  let polled = false;
  const next = statuses.next().finally(() => {
    polled = true;
  });
  while (!polled) {
    clock.advance(1_000);
    await new Promise(setImmediate);
  }
  assert.equal((await next).value?.status, Status.NOT_SERVING);
  assert.equal((await client.check({})).status, Status.NOT_SERVING);
});

test("the number of Watch calls is bounded", async (t) => {
  const { address } = await start(t, { health: () => true });
  const client = createClient(Health, createGrpcTransport({ baseUrl: address }));
  const leaving = new AbortController();
  const options = { signal: leaving.signal };
  const watches = Array.from({ length: 100 }, () =>
    client.watch({}, options)[Symbol.asyncIterator](),
  );
  await Promise.all(watches.map((watch) => watch.next()));
  // One connection has at most 100 requests at once.
  const other = createClient(Health, createGrpcTransport({ baseUrl: address }));
  const more = other.watch({}, options)[Symbol.asyncIterator]().next();
  await assert.rejects(more, (error) => reasonOf(error) === ErrorReason.OVERLOADED);
  leaving.abort();
});
