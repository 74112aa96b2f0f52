import { type MessageKey, writeKey } from "../dialects/key.ts";
import type { LeanWebSocket } from "../dialects/websocket.ts";

const CHUNK_BYTES = 262_144;

/** A frame with a message, and the offset of its key. */
export interface Template {
  readonly frame: Buffer;
  readonly keyAt: number;
}

/**
 * Buffers frames, of one socket at a time, to send them in one write. A frame for another socket flushes the
 * buffer first.
 */
export class WriteBuffer {
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #from = 0;
  #at = 0;
  #socket: LeanWebSocket | undefined;

  /** Adds a message with its key. */
  send(socket: LeanWebSocket, { frame, keyAt }: Template, key: Readonly<MessageKey>): void {
    const at = this.add(socket, frame);
    writeKey(this.#chunk, at + keyAt, key);
  }

  /** Adds a frame unchanged; returns its offset in the buffer. */
  add(socket: LeanWebSocket, frame: Buffer): number {
    if (socket !== this.#socket) this.flush();
    this.#socket = socket;
    if (this.#at + frame.length > this.#chunk.length) {
      this.flush();
      this.#socket = socket;
      // Sockets still use the old chunk until its bytes are sent.
      this.#chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, frame.length));
      this.#from = 0;
      this.#at = 0;
    }
    const at = this.#at;
    this.#chunk.set(frame, at);
    this.#at += frame.length;
    return at;
  }

  /** Writes all added frames. */
  flush(): void {
    if (this.#at > this.#from) this.#socket?.write(this.#chunk.subarray(this.#from, this.#at));
    this.#from = this.#at;
    this.#socket = undefined;
  }
}
