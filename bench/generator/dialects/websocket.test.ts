import assert from "node:assert/strict";
import { test } from "node:test";
import { BINARY, clientFrame, FrameReader } from "./websocket.ts";

/** A server's frame: not masked, with the shortest form of the length. */
function serverFrame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  if (length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, length]), payload]);
  if (length < 65_536) {
    return Buffer.concat([Buffer.from([0x80 | opcode, 126, length >> 8, length & 255]), payload]);
  }
  const head = Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  head[1] = 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

/** Reads a stream in chunks of a size; returns each frame as "opcode:payload". */
function readIn(stream: Buffer, size: number): string[] {
  const got: string[] = [];
  const reader = new FrameReader((opcode, bytes, from, to) => {
    got.push(`${opcode}:${bytes.toString("latin1", from, to)}`);
  });
  // One buffer for all reads, as on a socket.
  const chunk = Buffer.alloc(size);
  for (let at = 0; at < stream.length; at += size) {
    const length = stream.copy(chunk, 0, at, at + size);
    reader.read(chunk.subarray(0, length));
  }
  return got;
}

const payloads = ["", "a", "x".repeat(125), "y".repeat(126), "z".repeat(70_000), "end"];
const stream = Buffer.concat(payloads.map((text) => serverFrame(BINARY, Buffer.from(text))));

for (const size of [1, 2, 3, 7, 127, 4_096, 65_536, stream.length]) {
  test(`frames are found in chunks of ${size} bytes`, () => {
    assert.deepEqual(
      readIn(stream, size),
      payloads.map((text) => `${BINARY}:${text}`),
    );
  });
}

test("a fragmented message and a masked frame are refused", () => {
  const reader = new FrameReader(() => {});
  assert.throws(() => reader.read(Buffer.from([BINARY, 1, 65])), /fragmented/);
  assert.throws(() => reader.read(Buffer.from([0x80 | BINARY, 0x81])), /masked/);
});

for (const length of [0, 5, 125, 126, 65_535, 65_536]) {
  test(`a client's frame of ${length} bytes has its length and a mask of zero`, () => {
    const frame = clientFrame(BINARY, Buffer.alloc(length, "p"));
    const [first, second] = frame;
    assert.equal(first, 0x80 | BINARY);
    assert.ok(second! & 0x80, "clients must mask");
    const short = second! & 0x7f;
    const encoded =
      short < 126
        ? short
        : short === 126
          ? frame.readUInt16BE(2)
          : Number(frame.readBigUInt64BE(2));
    assert.equal(encoded, length);
    const payload = frame.subarray(frame.length - length);
    assert.deepEqual(
      [...frame.subarray(frame.length - length - 4, frame.length - length)],
      [0, 0, 0, 0],
    );
    assert.ok(payload.every((byte) => byte === "p".charCodeAt(0)));
  });
}
