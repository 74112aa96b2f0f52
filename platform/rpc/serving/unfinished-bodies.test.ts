import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { SERVER_SECRET, testCallers } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, closed, dial, LONG_ANSWER, protocols, start } from "./listen.fixture.ts";

const STREAM = "/lucky.auth.v1.AuthService/WatchQrLogin";
/** A method with large requests, and what it answers. */
const LARGE = "/lucky.internal.session.v1.SessionService/CheckUsers";
const service = { session: { checkUsers: () => ({ userIds: ["7"] }) } };
/** Time-out for a whole request, and then for its connection or stream to end, ms. */
const BODY_MS = 30_000;
const REST_MS = 2_000;

/** Content types and paths of all protocols, with an answer to a request that came too late. */
const kinds: [type: string, path: string, answer: RegExp][] = [
  ["application/json", CALL, /"code":"deadline_exceeded"/],
  ["application/proto", CALL, /"code":"deadline_exceeded"/],
  ["application/connect+json", STREAM, /"code":"deadline_exceeded"/],
  ["application/grpc-web+proto", CALL, /grpc-status: 4\r\n/],
  ["application/grpc-web+proto", STREAM, /grpc-status: 4\r\n/],
  ["application/grpc", CALL, /grpc-status: 4\r\n/],
  ["application/grpc", STREAM, /grpc-status: 4\r\n/],
];

async function turns(until: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await until())) await new Promise(setImmediate);
}

/** The value of a metric without labels. */
async function metric(metrics: Metrics, name: string): Promise<number> {
  return Number(new RegExp(`^${name}(?:\\{.*\\})? (\\d+)`, "m").exec(await metrics.text())?.[1]);
}

const HELD = "lucky_request_body_bytes";
const REFUSED = "lucky_request_bodies_refused_total";
async function session(t: TestContext, address: string) {
  const client = connectHttp2(address);
  client.on("error", () => {});
  t.after(() => client.destroy());
  await once(client, "connect");
  return client;
}

function request(client: ReturnType<typeof connectHttp2>, path: string, type: string) {
  const headers = { ":method": "POST", ":path": path, "content-type": type, te: "trailers" };
  const mesh = path === LARGE ? { [MESH_HEADER]: SERVER_SECRET } : {};
  const stream = client.request({ ...headers, ...mesh }, { endStream: false });
  return stream.on("error", () => {});
}

/** The body of an answer, then its trailers as gRPC-Web would write them. */
async function answerOf(stream: ClientHttp2Stream): Promise<string> {
  let trailers = "";
  stream.on("trailers", (given) => {
    for (const [name, value] of Object.entries(given)) trailers += `${name}: ${value}\r\n`;
  });
  return (await text(stream)) + trailers;
}

for (const [type, path, expected] of kinds) {
  test(`HTTP/2: ${type} to ${path} that arrives byte by byte is cut after 30 s`, async (t) => {
    const clock = new ManualClock();
    const metrics = new Metrics();
    const { address } = await start(t, { clock, metrics });
    const stream = request(await session(t, address), path, type);
    const answer = answerOf(stream);
    const gone = once(stream, "close");
    stream.write("{");
    await turns(async () => (await metric(metrics, HELD)) > 0);
    for (let passed = 0; passed < BODY_MS; passed += 1_000) {
      if (passed < BODY_MS - 1_000) stream.write(" ");
      clock.advance(1_000);
    }
    assert.match(await answer, expected);
    await turns(() => clock.waiting > 0);
    clock.advance(REST_MS);
    await gone;
    const counted = await metrics.text();
    assert.match(counted, /lucky_request_bodies_refused_total\{cause="late"\} 1/);
    assert.match(counted, /lucky_request_body_bytes 0/);
  });
}

for (const [type, path, expected] of kinds.filter(([type]) => type !== "application/grpc")) {
  test(`HTTP/1.1: ${type} to ${path} that never ends is cut after 30 s`, async (t) => {
    const clock = new ManualClock();
    const metrics = new Metrics();
    const { port } = await start(t, { clock, metrics });
    const socket = await dial(port);
    t.after(() => socket.destroy());
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    const head = [`POST ${path} HTTP/1.1`, "Host: lucky", `Content-Type: ${type}`];
    socket.write([...head, "Content-Length: 100", "\r\n{"].join("\r\n"));
    const gone = closed(socket);
    await turns(async () => (await metric(metrics, HELD)) > 0);
    clock.advance(BODY_MS);
    await turns(() => expected.test(answer) && clock.waiting === 1);
    clock.advance(REST_MS);
    await gone;
  });
}

const HALF = Buffer.alloc(500_000, " ");

test("unfinished bodies of one connection hold at most 4 MiB: the largest are refused, a small call is answered", async (t) => {
  const metrics = new Metrics();
  const { address, lines } = await startLogged(t, metrics);
  const client = await session(t, address);
  const streams = Array.from({ length: 12 }, () => request(client, LARGE, "application/json"));
  const answers = streams.map(answerOf);
  for (const stream of streams) stream.write(HALF);
  const first = await Promise.race(answers);
  assert.match(first, /"code":"resource_exhausted","message":"too many unfinished requests/);
  assert.match(first, /"retryAfterMs":"1000"/);
  await turns(async () => (await metric(metrics, REFUSED)) >= 3);
  assert.ok((await metric(metrics, HELD)) <= 4 * 1024 * 1024);
  const small = request(client, CALL, "application/json");
  small.end("{}");
  assert.ok((await text(small)).includes(LONG_ANSWER));
  assert.ok(lines.some(({ event }) => event === "request_body_refused"));
  client.destroy();
  await turns(async () => (await metric(metrics, HELD)) === 0);
});

/** A server whose log can be read. */
async function startLogged(t: TestContext, metrics: Metrics) {
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const log = createLog({ service: "test", instanceId: "test-0", level: "info", stream });
  return { ...(await start(t, { metrics, log })), lines };
}

test("a port for our own services takes the unfinished bodies of a whole gateway on one connection", async (t) => {
  const metrics = new Metrics();
  const { address } = await start(t, { metrics, service, mesh: testCallers });
  const client = await session(t, address);
  const streams = Array.from({ length: 20 }, () => request(client, LARGE, "application/json"));
  const answers = streams.map(answerOf);
  for (const stream of streams) stream.write(HALF);
  await turns(async () => (await metric(metrics, HELD)) >= 20 * HALF.length);
  for (const stream of streams) stream.end("{}");
  for (const answer of answers) assert.equal(await answer, '{"userIds":["7"]}');
});

test("beyond 64 MiB of unfinished bodies in all, large ones are refused and small calls of others are answered", async (t) => {
  const metrics = new Metrics();
  const { address } = await start(t, { metrics });
  const clients = await Promise.all(Array.from({ length: 20 }, () => session(t, address)));
  const streams = clients.flatMap((client) =>
    Array.from({ length: 7 }, () => request(client, LARGE, "application/json")),
  );
  for (const stream of streams) stream.resume().write(HALF);
  await turns(async () => (await metric(metrics, REFUSED)) >= 1);
  assert.match(await metrics.text(), /refused_total\{cause="process"\} /);
  assert.ok((await metric(metrics, HELD)) <= 64 * 1024 * 1024);
  for (const protocol of Object.values(protocols)) {
    const client = createClient(AuthService, protocol(address));
    assert.equal((await client.getJwks({})).jwksJson, LONG_ANSWER);
  }
});

test("an answer that its client does not read is cut after two minutes", async (t) => {
  const clock = new ManualClock();
  const { address } = await start(t, { clock });
  const client = connectHttp2(address, { settings: { initialWindowSize: 0 } });
  t.after(() => client.destroy());
  await once(client, "remoteSettings");
  const stream = request(client, CALL, "application/json");
  stream.end("{}");
  await once(stream, "response");
  await turns(() => clock.waiting > 0);
  const gone = once(stream, "close");
  clock.advance(120_000);
  await gone;
});

test("a large request that is not an RPC gets its 404, and its stream ends", async (t) => {
  const { address } = await start(t);
  const stream = request(await session(t, address), "/nothing", "application/json");
  const gone = new Promise((resolve) => stream.once("close", resolve));
  stream.end(HALF);
  const [headers] = await once(stream, "response");
  assert.equal(headers[":status"], 404);
  stream.resume();
  await gone;
});
