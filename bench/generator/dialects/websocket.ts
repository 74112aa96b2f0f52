import { connect, type Socket } from "node:net";

/** Opcodes of RFC 6455. */
export const TEXT = 1;
export const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const CONTINUATION = 0;

const FIN = 0x80;
const MASKED = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/**
 * Fixed key of every handshake, and its answer. A random key would detect answers cached by a proxy; there is
 * no proxy here.
 */
const HANDSHAKE_KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const HANDSHAKE_ANSWER = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** Longest header of a client's frame: two bytes, length, mask. */
const MAX_CLIENT_HEADER_BYTES = 14;

/**
 * A client's frame around a payload. The mask is zero, so that the payload is unchanged and
 * can be modified in place.
 */
export function clientFrame(opcode: number, payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(MAX_CLIENT_HEADER_BYTES + payload.length);
  frame[0] = FIN | opcode;
  let at = 2;
  if (payload.length < LENGTH_16) {
    frame[1] = MASKED | payload.length;
  } else if (payload.length < 65_536) {
    frame[1] = MASKED | LENGTH_16;
    at = frame.writeUInt16BE(payload.length, at);
  } else {
    frame[1] = MASKED | LENGTH_64;
    at = frame.writeBigUInt64BE(BigInt(payload.length), at);
  }
  at += 4;
  frame.set(payload, at);
  return frame.subarray(0, at + payload.length);
}

/**
 * Called with each frame of a server: its opcode, and the payload in `bytes`, which is valid during the call.
 */
export type OnFrame = (opcode: number, bytes: Buffer, from: number, to: number) => void;

/**
 * Splits the chunks of a TCP connection into the frames of a server. Whole frames are read in place; only
 * a frame that is cut off by the end of a chunk is copied. Throws for masked and fragmented frames.
 */
export class FrameReader {
  readonly #onFrame: OnFrame;
  #rest: Buffer | undefined;

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** Takes the next chunk. The caller may reuse its bytes after the call. */
  read(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + 2 <= bytes.length) {
      const short = bytes[at + 1]!;
      let from = at + 2;
      let length = short;
      if (short === LENGTH_16) {
        if (from + 2 > bytes.length) break;
        length = bytes.readUInt16BE(from);
        from += 2;
      } else if (short === LENGTH_64) {
        if (from + 8 > bytes.length) break;
        length = bytes.readUInt32BE(from) * 2 ** 32 + bytes.readUInt32BE(from + 4);
        from += 8;
      } else if (short > LENGTH_64) {
        throw new Error("the server masked a frame");
      }
      if (from + length > bytes.length) break;
      const opcode = bytes[at]! & 15;
      if ((bytes[at]! & FIN) === 0 || opcode === CONTINUATION) {
        throw new Error("the server sent a fragmented message");
      }
      this.#onFrame(opcode, bytes, from, from + length);
      at = from + length;
    }
    // The incomplete frame is copied, because the caller reuses its chunk.
    this.#rest = at === bytes.length ? undefined : Buffer.from(bytes.subarray(at));
  }
}

/** Events of a socket. */
export interface WebSocketEvents {
  /** The handshake has succeeded. */
  opened(): void;
  /** A text or binary message arrived; the bytes are valid during the call. */
  message(bytes: Buffer, from: number, to: number): void;
  /** All frames of a chunk were reported: the answers can be written together. */
  chunkRead(): void;
  /** The connection has ended, on either side. No event follows. */
  closed(code: number, reason: string): void;
}

export interface WebSocketOptions {
  /** ws:// or http:// address with path. */
  readonly url: string;
  readonly protocol?: string | undefined;
  /** Address to connect from: one address has about 28,000 ports. */
  readonly localAddress?: string | undefined;
  /** Buffer for reads. Sockets may share it: its bytes are used during the events only. */
  readonly readBuffer: Buffer;
  readonly events: WebSocketEvents;
}

/** A WebSocket client with little overhead: no streams, no copies, no objects per message. */
export class LeanWebSocket {
  readonly #socket: Socket;
  readonly #events: WebSocketEvents;
  readonly #reader: FrameReader;
  #head: string | undefined = "";
  #closeCode = 1006;
  #closeReason = "";

  constructor({ url, protocol, localAddress, readBuffer, events }: WebSocketOptions) {
    const { hostname, port, pathname, search } = new URL(url);
    this.#events = events;
    this.#reader = new FrameReader((opcode, bytes, from, to) => {
      this.#frame(opcode, bytes, from, to);
    });
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      ...(localAddress === undefined ? {} : { localAddress }),
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (length, buffer) => this.#read((buffer as Buffer).subarray(0, length)),
      },
    });
    this.#socket.once("connect", () => {
      const lines = [
        `GET ${pathname}${search} HTTP/1.1`,
        `Host: ${hostname}:${port}`,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        `Sec-WebSocket-Key: ${HANDSHAKE_KEY}`,
        ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : []),
      ];
      this.#socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    });
    this.#socket.on("error", (error) => {
      this.#closeReason ||= error.message;
    });
    this.#socket.once("close", () => events.closed(this.#closeCode, this.#closeReason));
  }

  /** Writes whole frames. The bytes must not change afterwards: the socket may send them later. */
  write(frames: Uint8Array): void {
    this.#socket.write(frames);
  }

  /** Closes it with code 1000. */
  close(): void {
    this.#socket.end(clientFrame(CLOSE, Buffer.from([1_000 >> 8, 1_000 & 255])));
  }

  /** Drops the connection. */
  cut(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): boolean {
    try {
      if (this.#head === undefined) this.#reader.read(chunk);
      else this.#readHead(chunk);
      this.#events.chunkRead();
    } catch (error) {
      this.#closeReason ||= (error as Error).message;
      this.#socket.destroy();
    }
    return true;
  }

  #readHead(chunk: Buffer): void {
    const text = (this.#head ?? "") + chunk.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) {
      this.#head = text;
      return;
    }
    const accepted = text.startsWith("HTTP/1.1 101") && text.includes(HANDSHAKE_ANSWER);
    if (!accepted) throw new Error(`no WebSocket: ${text.slice(0, text.indexOf("\r\n"))}`);
    this.#head = undefined;
    this.#events.opened();
    if (end + 4 < text.length) this.#reader.read(Buffer.from(text.slice(end + 4), "latin1"));
  }

  #frame(opcode: number, bytes: Buffer, from: number, to: number): void {
    if (opcode === BINARY || opcode === TEXT) {
      this.#events.message(bytes, from, to);
    } else if (opcode === PING) {
      this.write(clientFrame(PONG, bytes.subarray(from, to)));
    } else if (opcode === CLOSE) {
      if (to - from >= 2) this.#closeCode = bytes.readUInt16BE(from);
      this.#closeReason = bytes.toString("utf8", Math.min(to, from + 2), to);
      this.#socket.end();
    }
  }
}
