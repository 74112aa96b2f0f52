import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
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
