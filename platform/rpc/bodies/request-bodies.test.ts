import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { UniversalServerRequest } from "@connectrpc/connect/protocol";
import { createLog } from "#platform/log.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { type BodyOptions, requestBodies } from "./request-bodies.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });

/** A request whose body a test writes, with a maximum of 100,000 bytes. */
function request(header: Record<string, string> = {}) {
  const clock = new ManualClock();
  const source = new PassThrough();
  const bounded = requestBodies({ mesh: false, clock, log }).bounded({
    source: source as unknown as BodyOptions["source"],
    request: { header: new Headers(header) } as UniversalServerRequest,
    maxBytes: 100_000,
    path: "/test",
  });
  return { clock, source, header: bounded.header, body: bounded.body as AsyncIterable<Uint8Array> };
}

async function piecesOf(body: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return pieces;
}

test("a body of many one-byte pieces reaches the library as one piece", async () => {
  const { clock, source, body } = request();
  const text = "0123456789".repeat(1_000);
  for (const character of text) source.write(character);
  source.end();
  const pieces = await piecesOf(body);
  assert.equal(pieces.length, 1);
  assert.equal(Buffer.from(pieces[0]!).toString(), text);
  assert.equal(clock.waiting, 0);
});

test("a body that is too large reaches the library, which refuses it, before its end", async () => {
  const { clock, source, body } = request();
  source.write(Buffer.alloc(100_005));
  source.write("x");
  for await (const piece of body) assert.ok(piece.length > 100_000);
  assert.equal(clock.waiting, 0);
});

test("the library allocates nothing for an announced length", () => {
  assert.equal(request({ "content-length": "100000" }).header.get("content-length"), null);
  assert.equal(request({ "content-length": "100001" }).header.get("content-length"), "100001");
});

test("a body whose connection closes fails at once", async () => {
  const { clock, source, body } = request();
  const read = piecesOf(body);
  source.write("half");
  source.destroy();
  await assert.rejects(read, { code: "ERR_STREAM_PREMATURE_CLOSE" });
  assert.equal(clock.waiting, 0);
});

test("the pieces of a stream of requests are released while it is open", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const pieces: WeakRef<ArrayBuffer>[] = [];
  async function* arriving() {
    for (;;) {
      const piece = new Uint8Array(1 << 20);
      pieces.push(new WeakRef(piece.buffer));
      yield piece;
    }
  }
  const call = { header: new Headers(), body: arriving() } as unknown as UniversalServerRequest;
  const options = { source: new PassThrough() as never, request: call, maxBytes: 1, path: "/test" };
  const clock = new ManualClock();
  const bodies = requestBodies({ mesh: false, clock, log });
  const { body } = bodies.streamed(options, new AbortController().signal);
  const reader = body[Symbol.asyncIterator]();
  for (let count = 0; count < 20; count++) await reader.next();
  // A WeakRef keeps its target alive until the end of the current job.
  await new Promise(setImmediate);
  collect();
  const kept = pieces.filter((piece) => piece.deref() !== undefined).length;
  assert.ok(kept <= 2, `${kept} pieces are kept`);
  clock.advance(30_000);
  await assert.rejects(reader.next(), /did not arrive whole within 30 s/);
  assert.equal(clock.waiting, 0);
});
