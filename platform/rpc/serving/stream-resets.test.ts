import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { connect as connectHttp2, constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { createConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { Metrics } from "#platform/metrics.ts";
import { testCallers } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { CALL, closed, dial, start } from "./listen.fixture.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY] = [0, 1, 3, 4, 6, 7];
const [END_STREAM, END_HEADERS] = [1, 4];

function frame(type: number, flags: number, streamId: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}

/** A header block of HPACK: literals that are not indexed and not compressed. */
function headerBlock(headers: Record<string, string>): Buffer {
  const parts = Object.entries(headers).flatMap(([name, value]) => [
    Buffer.of(0, name.length),
    Buffer.from(name),
    Buffer.of(value.length),
    Buffer.from(value),
  ]);
  return Buffer.concat(parts);
}

const BLOCK = headerBlock({
  ":method": "POST",
  ":scheme": "http",
  ":path": CALL,
  ":authority": "lucky",
  "content-type": "application/proto",
});

/** More than a client may reset. */
const MANY = 900;

/** A whole call with an empty request. */
function call(streamId: number): Buffer {
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, streamId, BLOCK),
    frame(DATA, END_STREAM, streamId, Buffer.alloc(0)),
  ]);
}

function reset(streamId: number): Buffer {
  const body = Buffer.alloc(4);
  body.writeUInt32BE(constants.NGHTTP2_CANCEL);
  return frame(RST_STREAM, 0, streamId, body);
}

/** A call whose body arrives in two frames. */
function callWithBody(streamId: number): Buffer {
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, streamId, BLOCK),
    frame(DATA, 0, streamId, Buffer.from("abc")),
    frame(DATA, END_STREAM, streamId, Buffer.alloc(0)),
  ]);
}

function goaway(error: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32BE(error, 4);
  return frame(GOAWAY, 0, 0, body);
}

/** `count` calls, each reset at once. */
function resets(count: number): Buffer {
  return Buffer.concat(
    Array.from({ length: count }, (_, at) => [call(2 * at + 1), reset(2 * at + 1)]).flat(),
  );
}

/** Counts the requests of HTTP/2 that reach JavaScript. */
function countStreams(t: TestContext): () => number {
  const { emit } = EventEmitter.prototype;
  let streams = 0;
  t.mock.method(EventEmitter.prototype, "emit", function (this: EventEmitter, ...args: unknown[]) {
    // The server repeats the event of its session.
    if (args[0] === "stream" && "setLocalWindowSize" in this) streams++;
    return Reflect.apply(emit, this, args);
  });
  return () => streams;
}

/** The next frame of a type. */
function until(socket: Socket, type: number): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  return new Promise((resolve, reject) => {
    socket.once("close", () => reject(new Error("closed")));
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= 9) {
        const end = 9 + bytes.readUIntBE(0, 3);
        if (bytes.length < end) return;
        if (bytes[3] === type) return resolve(bytes.subarray(0, end));
        bytes = bytes.subarray(end);
      }
    });
  });
}

async function raw(t: TestContext, options: Parameters<typeof start>[1] = {}) {
  let calls = 0;
  const getJwks = () => {
    calls++;
    return { jwksJson: "{}" };
  };
  const { port, address } = await start(t, { ...options, service: { auth: { getJwks } } });
  const socket = await dial(port);
  t.after(() => socket.destroy());
  socket.write(PREFACE);
  socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
  await until(socket, SETTINGS);
  const client = createClient(AuthService, createGrpcTransport({ baseUrl: address }));
  return { port, socket, client, calls: () => calls };
}

test("a call that was reset before its turn never reaches a handler", async (t) => {
  const { socket, calls } = await raw(t);
  const pong = until(socket, PING);
  socket.write(Buffer.concat([resets(50), frame(PING, 0, 0, Buffer.alloc(8))]));
  await pong;
  assert.equal(calls(), 0);
  const answer = until(socket, HEADERS);
  socket.write(call(201));
  await answer;
  assert.equal(calls(), 1);
});

test("a client that resets calls without end loses its connection, and other clients are served", async (t) => {
  const { socket, client, calls } = await raw(t);
  const goaway = until(socket, GOAWAY);
  socket.write(resets(MANY));
  await goaway;
  await closed(socket);
  assert.equal(calls(), 0);
  assert.equal((await client.getJwks({})).jwksJson, "{}");
});

/** An error in GOAWAY, with calls around it in the same read. */
for (const [before, calls] of [
  ["", [goaway(1), callWithBody(1), callWithBody(3)]],
  [" after a call", [callWithBody(1), goaway(1), callWithBody(3)]],
] as const) {
  test(`a client that says goodbye with an error${before}, and goes on, disturbs nobody`, async (t) => {
    const { socket, client } = await raw(t);
    socket.write(Buffer.concat(calls));
    await closed(socket);
    assert.equal((await client.getJwks({})).jwksJson, "{}");
  });
}

test("the connection of a client that keeps its half open ends", async (t) => {
  const { port } = await start(t);
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  socket.write(Buffer.concat([Buffer.from(PREFACE), frame(SETTINGS, 0, 0, Buffer.alloc(0))]));
  await until(socket, SETTINGS);
  socket.write(goaway(0));
  // A write to a destroyed connection gets an error, which closes this half as well.
  const pings = setInterval(() => socket.write(frame(PING, 0, 0, Buffer.alloc(8))), 100);
  t.after(() => clearInterval(pings));
  await new Promise((resolve) => socket.once("close", resolve));
});

test("the connection of a client ends among the resets that arrive in one read", async (t) => {
  const { socket, client } = await raw(t);
  const streams = countStreams(t);
  socket.write(resets(MANY));
  await closed(socket);
  assert.ok(streams() <= 201, `${streams()} requests`);
  assert.equal((await client.getJwks({})).jwksJson, "{}");
});

test("a client may reset all its requests at once, and go on", async (t) => {
  const { socket } = await raw(t);
  const pong = until(socket, PING);
  socket.write(Buffer.concat([resets(100), frame(PING, 0, 0, Buffer.alloc(8))]));
  await pong;
  const answer = until(socket, HEADERS);
  socket.write(call(201));
  await answer;
});

test("a port for our own services bears the resets of a gateway whose clients all disconnect", async (t) => {
  const { socket, calls } = await raw(t, { mesh: testCallers });
  const pong = until(socket, PING);
  socket.write(Buffer.concat([resets(MANY), frame(PING, 0, 0, Buffer.alloc(8))]));
  await pong;
  // A call is split from its reset only where the stream of bytes is split.
  assert.ok(calls() < MANY / 20, `${calls()} calls`);
  const answer = until(socket, HEADERS);
  socket.write(call(2 * MANY + 1));
  await answer;
});

for (const [port, options, most] of [
  ["a public port", {}, 100],
  ["a port for our own services", { mesh: testCallers }, 1_000],
] as const) {
  test(`${port} announces at most ${most} requests at once`, async (t) => {
    const { address } = await start(t, options);
    const session = connectHttp2(address);
    t.after(() => session.close());
    const [settings] = await once(session, "remoteSettings");
    assert.equal(settings.maxConcurrentStreams, most);
  });
}

test("an address whose connection was closed for a flood gets no HTTP/2 connection for ten seconds", async (t) => {
  const clock = new ManualClock();
  const refusals: string[] = [];
  const bounds = createConnectionBounds({
    maxima: { all: 100, address: 100, network: 100 },
    metrics: new Metrics(),
    refused: (reason) => void refusals.push(reason),
  });
  const { port, socket, client } = await raw(t, { bounds, clock });
  socket.write(resets(MANY));
  await closed(socket);
  const begin = async (from?: string) => {
    const next = await dial(port, from);
    t.after(() => next.destroy());
    next.write(Buffer.concat([Buffer.from(PREFACE), frame(SETTINGS, 0, 0, Buffer.alloc(0))]));
    return next;
  };
  await closed(await begin());
  assert.deepEqual(refusals, ["flood"]);
  await until(await begin("127.0.0.9"), SETTINGS);
  clock.advance(10_001);
  await until(await begin(), SETTINGS);
  assert.equal((await client.getJwks({})).jwksJson, "{}");
});
