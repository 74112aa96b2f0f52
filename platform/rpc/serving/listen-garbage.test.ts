import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { SERVER_SECRET } from "#platform/rpc/rpc.fixture.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import {
  CALL,
  closed,
  dial,
  exchange,
  LONG_ANSWER,
  post,
  protocols,
  start,
} from "./listen.fixture.ts";

test("the protocol is detected however the first bytes are split", async (t) => {
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

test("garbage of any kind ends only its own connection", async (t) => {
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
        `POST ${CALL} HTTP/1.1`,
        "Host: [",
        "Content-Type: application/json",
        "Connection: close",
      ),
    ],
    [http(`POST ${CALL} HTTP/1.0`, "Content-Type: application/json")],
    [http(`POST ${CALL} HTTP/1.1`, "Host: a", "Content-Type: text/html", "Connection: close")],
    [
      http(
        `GET ${CALL}?connect=v1&encoding=proto&message=%ff HTTP/1.1`,
        "Host: a",
        "Connection: close",
      ),
    ],
    [http(`POST //[${CALL} HTTP/1.1`, "Host: a", "Connection: close")],
  ];
  for (let i = 0; i < 50; i++) garbage.push([randomBytes(1 + ((i * 37) % 4_000)), "\r\n\r\n\r\n"]);
  for (const chunks of garbage) {
    const socket = await dial(port);
    for (const chunk of chunks) socket.write(chunk);
    // After half of the garbage the server waits for more bytes: end the connection.
    socket.end();
    await closed(socket);
  }
  assert.equal((await client.getJwks({})).jwksJson, LONG_ANSWER);
});

const UNREADABLE = /"code":"invalid_argument","message":"the request is not a lucky\.auth\.v1\./;

test("a malformed message fails only its own call", async (t) => {
  const { address } = await start(t);
  const ask = (type: string, body: Uint8Array<ArrayBuffer> | string) =>
    fetch(`${address}${CALL}`, { method: "POST", headers: { "content-type": type }, body });
  assert.equal((await ask("application/json", "{")).status, 400);
  const bytes = Uint8Array.of(0xff, 0xff, 0xff);
  const asked = await ask("application/proto", bytes);
  assert.equal(asked.status, 400);
  assert.match(await asked.text(), UNREADABLE);
  const framed = Uint8Array.of(0, 0, 0, 0, bytes.length, ...bytes);
  const web = await ask("application/grpc-web+proto", framed);
  assert.match(await web.text(), /the%20request%20is%20no.*grpc-status: 3\r\n/s);
  const session = connectHttp2(address);
  t.after(() => session.close());
  const stream = session.request({
    ":method": "POST",
    ":path": CALL,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.resume().end(framed);
  const [trailers] = await once(stream, "trailers");
  assert.equal(trailers["grpc-status"], "3");
  assert.equal((await ask("application/json", "{}")).status, 200);
});

for (const protocol of ["gRPC", "Connect over HTTP/1.1", "Connect over HTTP/2"]) {
  test(`a ${protocol} message beyond 64 KiB is refused, and the client gets the error`, async (t) => {
    const clock = new ManualClock();
    const { server, address, authorized } = await start(t, { graceMs: 60_000, clock });
    const client = createClient(UserService, protocols[protocol]!(address));
    const ask = async (length: number) => {
      const key = { case: "userName", value: "x".repeat(length) } as const;
      const error = await client.getUser({ key }, await authorized()).catch((thrown) => thrown);
      assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
      return ConnectError.from(error).rawMessage;
    };
    assert.match(await ask(60 * 1024), /^user_name: /);
    assert.equal(await ask(70 * 1024), "the request has more than 65536 bytes");
    assert.equal(await ask(8 * 1024 * 1024), "the request has more than 65536 bytes");
    // The rest of the request, which the client never sends, times out: then nothing is in flight.
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

test("a batch between services may be larger", async (t) => {
  const session = {
    checkUsers: ({ userIds }: { userIds: string[] }) => ({ userIds: userIds.slice(0, 1) }),
  };
  // No validation: this test is about the bound in bytes, while CheckUsers also bounds the count.
  const { address } = await start(t, { service: { session }, interceptors: [] });
  const headers = { [MESH_HEADER]: SERVER_SECRET };
  const client = createClient(SessionService, protocols.gRPC!(address));
  const userIds = Array.from({ length: 90_000 }, () => "9223372036854775807");
  assert.equal((await client.checkUsers({ userIds }, { headers })).userIds.length, 1);
});

test("a connection without first bytes is dropped after ten seconds", async (t) => {
  const clock = new ManualClock();
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

test("an idle HTTP/2 connection is closed, with its open requests", async (t) => {
  const { port, address } = await start(t, { idleMs: 50 });
  const silent = await dial(port);
  silent.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  silent.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  const session = connectHttp2(address);
  const unfinished = session.request({
    ":method": "POST",
    ":path": CALL,
    "content-type": "application/grpc",
    te: "trailers",
  });
  unfinished.on("error", () => {});
  await Promise.all([closed(silent), once(session, "close")]);
});

test("a client that closes its half of the connection after the request still gets its answer", async (t) => {
  const { port } = await start(t);
  const socket = await dial(port);
  socket.end(post);
  assert.match(await text(socket), /^HTTP\/1.1 200 OK/);
});

test("an HTTP/2 client that closes its half of the connection loses the connection", async (t) => {
  const { port } = await start(t);
  const socket = await dial(port);
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  await new Promise((resolve) => socket.once("data", resolve));
  socket.end();
  await closed(socket);
});
