import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { CALL, start } from "./listen.fixture.ts";

/** More than any bound on a text, less than the maximum of any request. */
const LONG = "x".repeat(3_000);
/** Maximum bytes of a line and of an answer that refuse a request. */
const MAX_ANSWER = 2_048;

function framed(type: string, message: Uint8Array): Uint8Array {
  if (!type.includes("grpc") && !type.includes("connect+")) return message;
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A Health request in JSON; the name is the request's only field. */
const named = (name: string) => Buffer.from(JSON.stringify({ service: name }));

for (const [method, type] of [
  ["Check", "application/json"],
  ["Check", "application/grpc-web+json"],
  ["Watch", "application/grpc-web+json"],
  ["Watch", "application/connect+json"],
] as const) {
  test(`a long name in Health/${method} is refused and not repeated: ${type}`, async (t) => {
    const { address, lines } = await start(t, { health: () => true });
    const ask = (name: string) =>
      fetch(`${address}/grpc.health.v1.Health/${method}`, {
        method: "POST",
        headers: { "content-type": type },
        body: framed(type, named(name)) as Uint8Array<ArrayBuffer>,
      });
    const answer = await (await ask(LONG)).text();
    assert.match(answer, /must(%20| )have(%20| )at(%20| )most(%20| )128/);
    assert.ok(answer.length < MAX_ANSWER, `${answer.length} bytes`);
    const logged = JSON.stringify(lines.filter(({ event }) => event === "rpc"));
    assert.match(logged, /INVALID_ARGUMENT/);
    assert.ok(logged.length < MAX_ANSWER, `${logged.length} bytes`);
  });
}

test("a compressed name is refused", async (t) => {
  const { address, lines } = await start(t, { health: () => true });
  const response = await fetch(`${address}/grpc.health.v1.Health/Check`, {
    method: "POST",
    headers: { "content-type": "application/json", "content-encoding": "br" },
    body: brotliCompressSync(named("x".repeat(3 * 1024 * 1024))),
  });
  assert.equal(response.status, 501);
  assert.ok((await response.text()).length < MAX_ANSWER);
  assert.ok(JSON.stringify(lines).length < MAX_ANSWER);
});

for (const type of ["application/json", "application/grpc-web+json", "application/grpc+json"]) {
  test(`a duplicate key is not repeated in the error: ${type}`, async (t) => {
    const { address } = await start(t);
    const session = connectHttp2(address);
    t.after(() => session.close());
    const path = CALL.replace("GetJwks", "Login");
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": type });
    let trailers = "";
    stream.on("trailers", (received) => {
      trailers = JSON.stringify(received);
    });
    const key = "x".repeat(7_000);
    stream.end(framed(type, Buffer.from(`{"${key}":1,"${key}":2}`)));
    const answer = String(await buffer(stream)) + trailers;
    assert.match(answer, /not(%20| )a(%20| )lucky\.auth\.v1\.LoginRequest/);
    assert.ok(answer.length < MAX_ANSWER, `${answer.length} bytes`);
  });
}
