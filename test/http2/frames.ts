import type { Socket } from "node:net";

/** First bytes of a client. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Frame types of RFC 9113. */
export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** Flags of frames; ACK has the same bit in SETTINGS and PING as END_STREAM in others. */
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

const HEAD_BYTES = 9;

/** A frame of HTTP/2; its body is empty when absent. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  body: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}

/** First bytes of a client: the preface and empty settings. */
export const HTTP2_START: Buffer = Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]);

/** A frame that resets a stream. */
export function reset(streamId: number, error: number): Buffer {
  const body = Buffer.alloc(4);
  body.writeUInt32BE(error);
  return frame(RST_STREAM, 0, streamId, body);
}

/** A header block of HPACK: literals that are not indexed and not compressed, up to 127 bytes each. */
export function headerBlock(headers: Record<string, string>): Buffer {
  const parts = Object.entries(headers).flatMap(([name, value]) => [
    Buffer.of(0, name.length),
    Buffer.from(name),
    Buffer.of(value.length),
    Buffer.from(value),
  ]);
  return Buffer.concat(parts);
}

/** Calls `received` with each frame that arrives. */
export function onFrame(socket: Socket, received: (frame: Buffer) => void): void {
  let bytes = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + bytes.readUIntBE(0, 3);
      if (bytes.length < end) return;
      received(bytes.subarray(0, end));
      bytes = bytes.subarray(end);
    }
  });
}
