import type { Socket } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Header,
  type LinkFrame,
  LinkFrameSchema,
} from "#gen/lucky/internal/link/v1/link_pb.js";
import { varintSize, WireWriter } from "#platform/wire.ts";

// A gRPC call over node:http2 costs more than a millisecond of CPU, both sides together, however
// small it is. Over this link it costs about a tenth (bench `messages`, mesh, window 1).

/** The first bytes that a caller writes. No HTTP request begins with them. */
export const LEAN_PREFACE = Buffer.from("LUCKY-LINK/1\r\n");

const LENGTH_BYTES = 4;
/** Largest frame that either side accepts, 64 MiB. A batch has 1 MiB. */
const MAX_FRAME_BYTES = 64 * 1024 * 1024;
/** Largest frame accepted from a peer that has not authenticated yet. */
const MAX_FIRST_FRAME_BYTES = 4_096;
/** Field number of the headers in Call and in Answer. */
const HEADERS = 4;

type Kind = LinkFrame["kind"];

/** Reads and writes the frames of one socket. */
export class Frames {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #needed = LENGTH_BYTES;
  #maxFrameBytes = MAX_FIRST_FRAME_BYTES;

  constructor(socket: Socket, take: (kind: Kind) => void) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      try {
        this.#read(chunk, take);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
  }

  /** Accepts large frames too: the peer is authenticated. */
  trust(): void {
    this.#maxFrameBytes = MAX_FRAME_BYTES;
  }

  /** Sends a small frame. */
  send(kind: Kind): void {
    const frame = toBinary(LinkFrameSchema, create(LinkFrameSchema, { kind }));
    const head = Buffer.allocUnsafe(LENGTH_BYTES);
    head.writeUInt32BE(frame.length);
    this.#write(head, frame);
  }

  /** Sends a frame whose last field is `body`. The body is not copied. */
  sendWith(kind: number, fields: WireWriter, bodyField: number, body: Uint8Array): void {
    fields.header(bodyField, body.length);
    const inner = fields.length + body.length;
    const head = Buffer.allocUnsafe(LENGTH_BYTES);
    head.writeUInt32BE(1 + varintSize(inner) + inner);
    const tag = new WireWriter(16).header(kind, inner).finish();
    this.#write(Buffer.concat([head, tag, fields.finish()]), body);
  }

  #write(head: Uint8Array, rest: Uint8Array): void {
    if (!this.#socket.writable) return;
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(rest);
    this.#socket.uncork();
  }

  #read(chunk: Buffer, take: (kind: Kind) => void): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return;
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    let at = 0;
    for (;;) {
      this.#needed = LENGTH_BYTES;
      if (bytes.length - at < LENGTH_BYTES) break;
      const length = bytes.readUInt32BE(at);
      if (length > this.#maxFrameBytes) throw new Error(`a frame of ${length} bytes`);
      this.#needed = LENGTH_BYTES + length;
      if (bytes.length - at < this.#needed) break;
      const end = at + this.#needed;
      take(fromBinary(LinkFrameSchema, bytes.subarray(at + LENGTH_BYTES, end)).kind);
      at = end;
    }
    this.#chunks = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#bytes = bytes.length - at;
  }
}

/** The headers of a call or an answer. */
export function headersOf(headers: readonly Header[]): Headers {
  return new Headers(headers.map(({ name, value }): [string, string] => [name, value]));
}

/** Encodes the first fields of a call or an answer: its id, then the headers. */
export function fieldsWith(callId: number, headers: Headers): WireWriter {
  const fields = new WireWriter(64).varint(1, callId);
  headers.forEach((value, name) => {
    const header = new WireWriter(name.length + value.length * 3 + 16).string(1, name);
    fields.bytes(HEADERS, header.string(2, value).finish());
  });
  return fields;
}
