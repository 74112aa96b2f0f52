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
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEADERS,
  HTTP2_START,
  headerBlock,
  onFrame,
  PING,
  reset,
  SETTINGS,
} from "../../../test/http2/frames.ts";
import { CALL, closed, dial, start } from "./listen.fixture.ts";

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
    frame(DATA, END_STREAM, streamId),
  ]);
}

/** A call whose body arrives in two frames. */
function callWithBody(streamId: number): Buffer {
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, streamId, BLOCK),
    frame(DATA, 0, streamId, Buffer.from("abc")),
    frame(DATA, END_STREAM, streamId),
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
    Array.from({ length: count }, (_, at) => [
      call(2 * at + 1),
      reset(2 * at + 1, constants.NGHTTP2_CANCEL),
    ]).flat(),
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
  return new Promise((resolve, reject) => {
    socket.once("close", () => reject(new Error("closed")));
    onFrame(socket, (frame) => {
      if (frame[3] === type) resolve(frame);
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
  socket.write(HTTP2_START);
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
  socket.write(HTTP2_START);
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
    next.write(HTTP2_START);
    return next;
  };
  await closed(await begin());
  assert.deepEqual(refusals, ["flood"]);
  await until(await begin("127.0.0.9"), SETTINGS);
  clock.advance(10_001);
  await until(await begin(), SETTINGS);
  assert.equal((await client.getJwks({})).jwksJson, "{}");
});
