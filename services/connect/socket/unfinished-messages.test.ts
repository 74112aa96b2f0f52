import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClientFrameSchema, CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { startConnectHarness } from "../../../test/connect/connect-harness.ts";

const [CONTINUATION, BINARY, PING] = [0, 2, 9];
const FINAL = 0x80;
const HANDSHAKE = [
  "GET /ws HTTP/1.1",
  "Host: lucky",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "\r\n",
].join("\r\n");

/** A frame of WebSocket with an empty mask. */
function frame(first: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head[0] = first;
  head[1] = 0x80 | 126;
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

const ping = Buffer.of(FINAL | PING!, 0x80, 0, 0, 0, 0);

async function start(t: TestContext) {
  const clock = new ManualClock();
  const harness = await startConnectHarness(t, { clock, config: { maxFrameBytes: 4_096 } });
  const socket = connect(harness.port, "127.0.0.1").on("error", () => {});
  t.after(() => socket.destroy());
  socket.write(HANDSHAKE);
  await once(socket, "data");
  return { clock, harness, socket };
}

/** Sends a fragment and a ping each second until the socket has closed. */
async function drip(socket: Socket, clock: ManualClock): Promise<void> {
  let react = () => {};
  socket.on("data", () => react()).on("close", () => react());
  while (!socket.closed) {
    const reaction = new Promise<void>((resolve) => {
      react = resolve;
    });
    socket.write(frame(CONTINUATION!, Buffer.of(1)));
    socket.write(ping);
    await reaction;
    clock.advance(1_000);
  }
}

/** The close code that the socket gets: the last bytes that arrive, before the text. */
async function closeCodeOf(socket: Socket): Promise<number> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  await once(socket, "close");
  const bytes = Buffer.concat(chunks);
  return bytes.readUInt16BE(bytes.lastIndexOf(FINAL | 8) + 2);
}

test("a socket whose first message never ends is closed like one without Hello", async (t) => {
  const { clock, socket } = await start(t);
  const code = closeCodeOf(socket);
  socket.write(frame(BINARY!, Buffer.alloc(100)));
  await drip(socket, clock);
  assert.equal(await code, CloseCode.HELLO_TIMEOUT);
});

test("a session whose message never ends is closed like one without heartbeats, even if it pings", async (t) => {
  const { clock, harness, socket } = await start(t);
  const accessToken = await harness.issuer.token();
  const kind = { case: "hello" as const, value: { accessToken } };
  const hello = toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind }));
  socket.write(frame(FINAL | BINARY!, hello));
  // Welcome.
  await once(socket, "data");
  const code = closeCodeOf(socket);
  socket.write(frame(BINARY!, Buffer.alloc(100)));
  await drip(socket, clock);
  assert.equal(await code, CloseCode.HEARTBEAT_TIMEOUT);
});

test("the fragments of a message hold at most 64 KiB more than a frame: beyond it the connection is dropped", async (t) => {
  const { socket } = await start(t);
  const gone = once(socket, "close");
  socket.resume();
  socket.write(frame(BINARY!, Buffer.alloc(40_000)));
  socket.write(frame(CONTINUATION!, Buffer.alloc(40_000)));
  await gone;
});
