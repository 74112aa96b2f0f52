import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { buffer, text } from "node:stream/consumers";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { systemClock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { limitsConfig } from "#platform/config/settings.ts";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createMemoryLimiter } from "#platform/limiter/memory.ts";
import { keptLog } from "#platform/log.fixture.ts";
import { Metrics } from "#platform/metrics.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { budgetsOf } from "#platform/rpc/interceptors/budgets.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { SERVER_SECRET, testCallers } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, dial, exchange, post, protocols, start } from "./listen.fixture.ts";

const GET_USERS = "/lucky.user.v1.UserService/BatchGetUsers";
const CHECK_USERS = "/lucky.internal.session.v1.SessionService/CheckUsers";

/** Sends the head of a call, and its body unless it is undefined: then the body never comes. */
type Ask = (path: string, headers: Record<string, string>, body?: Uint8Array) => Promise<string>;

/** Asks over HTTP/1.1. Returns the whole answer. */
function overHttp1(port: number, type: string): Ask {
  return async (path, headers, body) => {
    const socket = await dial(port);
    const fields = { host: "lucky", "content-type": type, connection: "close", ...headers };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
    const length = `content-length: ${body?.length ?? 1_000}`;
    socket.write(`POST ${path} HTTP/1.1\r\n${[...lines, length].join("\r\n")}\r\n\r\n`);
    if (body !== undefined) socket.write(body);
    return text(socket);
  };
}

/** Asks over HTTP/2, each time over its own connection. Returns body and trailers. */
function overHttp2(port: number, type: string): Ask {
  return async (path, headers, body) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const head = { ":method": "POST", ":path": path, "content-type": type, te: "trailers" };
    const stream = session.request({ ...head, ...headers });
    let trailers = "";
    stream.on("trailers", (received) => {
      trailers = `grpc-status: ${received["grpc-status"]} ${received["grpc-message"]}`;
    });
    if (body !== undefined) stream.end(body);
    const answer = String(await buffer(stream));
    session.destroy();
    return answer + trailers;
  };
}

type Way = [name: string, to: (port: number) => Ask, envelope: boolean];
const ways: Way[] = [
  ["Connect over HTTP/1.1", (port) => overHttp1(port, "application/proto"), false],
  ["Connect over HTTP/2", (port) => overHttp2(port, "application/proto"), false],
  ["gRPC", (port) => overHttp2(port, "application/grpc"), true],
  ["gRPC-Web over HTTP/1.1", (port) => overHttp1(port, "application/grpc-web+proto"), true],
  ["gRPC-Web over HTTP/2", (port) => overHttp2(port, "application/grpc-web+proto"), true],
];

/** Asserts that an answer, in any protocol, is this error. */
function assertRefused(answer: string, code: Code, part: string): void {
  const name = Code[code].replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  assert.match(answer, new RegExp(`"code":"${name}"|grpc-status: ${code}\\b`));
  assert.ok(decodeURIComponent(answer).includes(part), answer);
}

function enveloped(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

for (const [name, to, envelope] of ways) {
  test(`a call over ${name} is refused for its headers before its body arrives`, async (t) => {
    const perMinute = (points: number) => ({ name: "read", points, windowMs: 60_000 });
    const service = { budgets: { [LimitClass.READ]: perMinute(1) } };
    const { port, lines, metrics, authorized } = await start(t, { service });
    const ask = to(port);
    const forged = { authorization: "Bearer x.y.z" };
    const noToken = "a header authorization: Bearer <access token> is needed";
    assertRefused(await ask(GET_USERS, {}), Code.Unauthenticated, noToken);
    assertRefused(await ask(GET_USERS, forged), Code.Unauthenticated, "token is not valid");
    const ours = "is for Lucky's own services";
    assertRefused(await ask(CHECK_USERS, {}), Code.PermissionDenied, ours);
    const empty = envelope ? enveloped(new Uint8Array()) : new Uint8Array();
    assert.match(await ask(CALL, {}, empty), /xxxx/);
    assertRefused(await ask(CALL, {}), Code.ResourceExhausted, "too many calls (read)");
    // The points of this method depend on its request; a used-up budget does not.
    const { headers } = await authorized();
    const one = Buffer.of(0x0a, 0x01, 0x07);
    assert.doesNotMatch(await ask(GET_USERS, headers, envelope ? enveloped(one) : one), /too many/);
    const more = await ask(GET_USERS, headers);
    assertRefused(more, Code.ResourceExhausted, "too many calls (read)");

    const logged = lines.filter(({ event }) => event === "rpc").map(({ reason }) => reason);
    assert.deepEqual(
      logged.filter((reason) => reason !== undefined),
      ["TOKEN_INVALID", "TOKEN_INVALID", "PERMISSION_DENIED", "RATE_LIMITED", "RATE_LIMITED"],
    );
    assert.match(await metrics.text(), /BatchGetUsers",code="unauthenticated"\} 2/);
  });

  test(`a request over ${name} with too many fields is refused and not decoded`, async (t) => {
    const { port, authorized } = await start(t);
    const ask = to(port);
    const body = (fields: number) => {
      const message = Buffer.alloc(2 * fields, Uint8Array.of(0x0a, 0x00));
      return envelope ? enveloped(message) : message;
    };
    const { headers } = await authorized();
    const tooMany = (max: number) => `more than ${max} fields`;
    const answer = await ask(GET_USERS, headers, body(5_001));
    assertRefused(answer, Code.InvalidArgument, tooMany(5_000));
    // One field less is decoded: its list of users is empty.
    const decoded = await ask(GET_USERS, headers, body(5_000));
    assertRefused(decoded, Code.InvalidArgument, "user_ids: must contain at least 1 item");
    const mesh = { [MESH_HEADER]: SERVER_SECRET };
    const internal = await ask(CHECK_USERS, mesh, body(100_001));
    assertRefused(internal, Code.InvalidArgument, tooMany(100_000));
  });
}

for (const [name, to] of ways.filter(([, , envelope]) => envelope)) {
  test(`a stream over ${name} is refused before its request arrives, and logged once`, async (t) => {
    const credential = { name: "credential", points: 1, windowMs: 60_000 };
    const service = {
      budgets: { [LimitClass.READ]: credential, [LimitClass.CREDENTIAL]: credential },
    };
    const { port, lines } = await start(t, { service });
    const ask = to(port);
    const watch = "/lucky.auth.v1.AuthService/WatchQrLogin";
    await ask(watch, {}, enveloped(new Uint8Array()));
    assertRefused(await ask(watch, {}), Code.ResourceExhausted, "too many calls");
    const limited = lines.filter(({ reason }) => reason === "RATE_LIMITED");
    assert.equal(limited.length, 1);
  });
}

test("the token of an admitted call is verified once", async (t) => {
  const issuer = await testIssuer(systemClock);
  let verified = 0;
  const verifier = {
    verify(token: string) {
      verified++;
      return issuer.verifier.verify(token);
    },
  };
  const { log } = keptLog();
  const options = { log, metrics: new Metrics(), clock: systemClock, mesh: testCallers };
  const checks = serverInterceptors({ ...options, verifier });
  const { address } = await start(t, checks);
  const users = createClient(UserService, protocols.gRPC!(address));
  const headers = { authorization: `Bearer ${await issuer.token()}` };
  assert.equal((await users.batchGetUsers({ userIds: ["7"] }, { headers })).users.length, 1);
  assert.equal(verified, 1);
});

test("a small request that brotli would expand to 512 KiB is refused and not decompressed", async (t) => {
  const { port } = await start(t);
  const bomb = brotliCompressSync(Buffer.alloc(512 * 1024, Uint8Array.of(0x0a, 0x00)));
  assert.ok(bomb.length < 64);
  const headers = { "content-encoding": "br" };
  const answer = await overHttp1(port, "application/proto")(CALL, headers, bomb);
  assertRefused(answer, Code.Unimplemented, "requests must not be compressed");
});

test("a request in JSON with too many values is refused and not decoded", async (t) => {
  const { port, authorized } = await start(t);
  const ask = overHttp1(port, "application/json");
  const { headers } = await authorized();
  const body = Buffer.from(JSON.stringify({ userIds: Array<number>(5_001).fill(1) }));
  assertRefused(await ask(GET_USERS, headers, body), Code.InvalidArgument, "more than 5000");
});

test("an address that only has refusals is refused cheaply, users known before are not", async (t) => {
  const clock = new ManualClock();
  const service = { clock, refusalsPerSecond: 10 };
  const { address, issuer, metrics } = await start(t, { clock, service });
  const users = createClient(UserService, protocols["Connect in JSON"]!(address));
  const call = async (sub: string) => {
    const headers = { authorization: `Bearer ${tokens.get(sub)}` };
    const error = await users.batchGetUsers({ userIds: ["1"] }, { headers }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    return error === undefined
      ? undefined
      : { reason: ErrorReason[reasonOf(error)], detail: detailOf(error) };
  };
  const tokens = new Map<string, string>();
  for (const sub of ["7", "8"]) tokens.set(sub, await issuer.token({ sub }));
  assert.equal(await call("7"), undefined);

  const post = async (path: string, type: string, body: string) => {
    const headers = { "content-type": type };
    const response = await fetch(`${address}${path}`, { method: "POST", headers, body });
    await response.arrayBuffer();
    return response.status;
  };
  const refusals: [status: number, path: string, type: string, body: string][] = [
    [404, "/nothing", "application/json", "{}"],
    [415, CALL, "text/html", "{}"],
    [400, CALL, "application/json", "{"],
    [400, CALL, "application/json", "x".repeat(20_000)],
    [401, GET_USERS, "application/json", "{}"],
    [403, CHECK_USERS, "application/json", "{}"],
  ];
  for (const [status, ...request] of refusals) {
    for (let n = 0; n < 10; n++) assert.equal(await post(...request), status);
  }
  // Sixty refusals are the budget; the next one uses it up.
  assert.equal(await post(GET_USERS, "application/json", "{}"), 401);
  assert.equal(await post(GET_USERS, "application/json", "{}"), 429);
  assert.equal(await post(CALL, "application/json", "{}"), 429);
  assert.equal(await post("/nothing", "application/json", "{}"), 429);
  const limited = await call("8");
  assert.equal(limited?.reason, "RATE_LIMITED");
  assert.equal(Number(limited?.detail?.retryAfterMs), 6_000);
  assert.equal(await call("7"), undefined);
  assert.match(await metrics.text(), /^lucky_rpc_refusals_limited_total 1$/m);

  clock.advance(6_000);
  assert.equal(await call("8"), undefined);
  assert.equal(await post(GET_USERS, "application/json", "{}"), 401);
});

for (const [title, trustedProxies, answered] of [
  ["a client that floods with refused calls loses its connections", {}, 0],
  ["a trusted proxy that tells no address keeps its connections", { networks: ["127.0.0.1"] }, 30],
] as const) {
  test(title, async (t) => {
    const clock = new ManualClock();
    const service = { clock, refusalsPerSecond: 1 };
    const { port } = await start(t, { clock, service, trustedProxies });
    const unknown = post.replace(CALL, "/nothing");
    // The loop ends with the first 429, which is also the first of twenty that are sent at once.
    while ((await exchange(port, unknown)).startsWith("HTTP/1.1 404"));
    const sockets = await Promise.all(Array.from({ length: 19 + 100 + 30 }, () => dial(port)));
    const ends: string[] = [];
    for (const socket of sockets) {
      // A connection that is cut ends without an answer, or with a reset.
      text(socket).then(
        (answer) => ends.push(answer.split(" ", 2)[1] ?? "cut"),
        () => ends.push("cut"),
      );
      socket.write(unknown);
    }
    // The clock stands still: a hundred calls wait for their turn.
    while (ends.length < 19 + 30) await new Promise(setImmediate);
    const refused = ends.filter((end) => end === "429").length;
    const cut = ends.filter((end) => end === "cut").length;
    for (const socket of sockets) socket.destroy();
    assert.deepEqual({ refused, cut }, { refused: 19 + answered, cut: 30 - answered });
  });
}

test("a known user with too many refused calls is refused, other known users are not", async (t) => {
  const clock = new ManualClock();
  const service = { clock, refusalsPerSecond: 1 };
  const { address, issuer } = await start(t, { clock, service });
  const ask = async (token: string, body: string) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    const response = await fetch(`${address}${GET_USERS}`, { method: "POST", headers, body });
    await response.arrayBuffer();
    return response.status;
  };
  const [ana, ben] = [await issuer.token({ sub: "7" }), await issuer.token({ sub: "8" })];
  assert.equal(await ask(ben, '{"userIds":["1"]}'), 200);
  for (let n = 0; n < 7; n++) assert.equal(await ask(ana, "{"), 400);
  assert.equal(await ask(ana, "{}"), 429);
  assert.equal(await ask(ben, '{"userIds":["1"]}'), 200);
});

test("health checks have a budget per address on a public port, none on an internal one", async (t) => {
  const check = async (service: Parameters<typeof start>[1]) => {
    const { address } = await start(t, { health: () => true, ...service });
    const client = createClient(Health, protocols.gRPC!(address));
    let answered = 0;
    for (let n = 0; n < 50; n++) {
      const failed = await client.check({}).then(
        () => undefined,
        (error: unknown) => ConnectError.from(error).code,
      );
      if (failed === undefined) answered++;
      else assert.equal(failed, Code.ResourceExhausted);
    }
    return answered;
  };
  const limits = {
    ...defaultsOf(limitsConfig),
    readPerSecond: 1,
    writePerSecond: 1,
    sendPerSecond: 1,
    credentialPerMinute: 1,
    searchPerMinute: 1,
    refusalsPerSecond: 1,
  };
  const clock = new ManualClock();
  const limiter = createMemoryLimiter({ clock });
  t.after(() => limiter.close());
  const budgets = budgetsOf(limits);
  assert.equal(await check({ service: { limiter, budgets } }), 10);
  assert.equal(await check({}), 50);
});

test("the lines about calls that got no answer are sampled", async (t) => {
  const clock = new ManualClock();
  const { log, lines } = keptLog();
  const { port } = await start(t, { clock, log });
  const head = [`POST ${CALL} HTTP/1.1`, "Host: [", "Content-Type: application/json"];
  const request = `${[...head, "Connection: close"].join("\r\n")}\r\n\r\n`;
  for (let n = 0; n < 30; n++) assert.match(await exchange(port, request), /^HTTP\/1.1 400/);
  assert.equal(lines.filter(({ event }) => event === "rpc_not_answered").length, 10);
  clock.advance(1_000);
  const { suppressed } = lines.find(({ event }) => event === "rpc_lines_suppressed") ?? {};
  assert.equal(suppressed, 20);
});
