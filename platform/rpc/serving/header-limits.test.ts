import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectHttp2, constants } from "node:http2";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { CALL, dial, exchange, start } from "./listen.fixture.ts";

/** A call over HTTP/1.1 with further headers. */
function call(count: number, ...others: string[]): string {
  return [
    `POST ${CALL} HTTP/1.1`,
    "Host: lucky",
    "Content-Type: application/json",
    "Content-Length: 2",
    "Connection: close",
    ...Array.from({ length: count }, (_, at) => `x-${at}: 1`),
    ...others,
    "",
    "{}",
  ].join("\r\n");
}

test("an HTTP/1.1 request with more than 100 headers is refused, and none is dropped below that", async (t) => {
  const { port } = await start(t, { cors: ["*"] });
  assert.match(await exchange(port, call(95, "Origin: a")), /^HTTP\/1.1 200 .*Allow-Origin/s);
  for (const count of [97, 150, 1_000]) {
    assert.match(await exchange(port, call(count)), /^HTTP\/1.1 431 /);
  }
});

test("a WebSocket upgrade with more than 100 headers is refused", async (t) => {
  const { port } = await start(t, { onUpgrade: (_request, socket) => socket.end("upgraded") });
  const upgrade = (count: number) =>
    [
      "GET /ws HTTP/1.1",
      "Host: lucky",
      "Connection: Upgrade",
      "Upgrade: websocket",
      ...Array.from({ length: count }, (_, at) => `x-${at}: 1`),
      "\r\n",
    ].join("\r\n");
  assert.match(await exchange(port, upgrade(10)), /^upgraded/);
  assert.match(await exchange(port, upgrade(110)), /^HTTP\/1.1 431 /);
});

async function session(t: TestContext) {
  const { address } = await start(t);
  const client = connectHttp2(address);
  t.after(() => client.destroy());
  const [settings] = await once(client, "remoteSettings");
  return { client, settings };
}

test("an HTTP/2 request with more than 100 headers, or more than 16 KiB of them, is reset", async (t) => {
  const { client, settings } = await session(t);
  assert.equal(settings.maxHeaderListSize, 16 * 1024);
  assert.equal(settings.initialWindowSize, 256 * 1024);
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`x-${at}`, "1"]));
  for (const headers of [many, { "x-long": "x".repeat(20_000) }]) {
    const stream = client.request({
      ":method": "POST",
      ":path": CALL,
      "content-type": "application/json",
      ...headers,
    });
    stream.on("error", () => {}).end("{}");
    await new Promise((resolve) => stream.once("close", resolve));
    assert.equal(stream.rstCode, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
});

test("an HTTP/1.1 connection with more than 100 requests without an answer is closed", async (t) => {
  let calls = 0;
  const { port } = await start(t, {
    service: {
      auth: {
        getJwks() {
          calls++;
          return new Promise(() => {});
        },
      },
    },
  });
  const socket = await dial(port);
  const received = text(socket).catch(() => "");
  const pipelined = call(0).replace("Connection: close\r\n", "");
  socket.write(pipelined.repeat(200));
  assert.equal(await received, "");
  assert.ok(calls <= 100, `${calls} calls`);
});
