import { type MessageKey, writeKey } from "../dialects/key.ts";
import type { LeanWebSocket } from "../dialects/websocket.ts";

const CHUNK_BYTES = 262_144;

/** A frame with a message, and where in it the key belongs. */
export interface Template {
  readonly frame: Buffer;
  readonly keyAt: number;
}

/**
 * Frames on their way out: those for one socket lie next to each other and leave in one write. Of
 * one socket at a time: when another one's turn comes, the frames before are written.
 */
export class Outgoing {
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #from = 0;
  #at = 0;
  #socket: LeanWebSocket | undefined;

  /** Adds a message under its key. */
  send(socket: LeanWebSocket, { frame, keyAt }: Template, key: Readonly<MessageKey>): void {
    const at = this.add(socket, frame);
    writeKey(this.#chunk, at + keyAt, key);
  }

  /** Adds a frame as it is; returns where it went. */
  add(socket: LeanWebSocket, frame: Buffer): number {
    if (socket !== this.#socket) this.flush();
    this.#socket = socket;
    if (this.#at + frame.length > this.#chunk.length) {
      this.flush();
      this.#socket = socket;
      // The old one belongs to the sockets until it has left.
      this.#chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, frame.length));
      this.#from = 0;
      this.#at = 0;
    }
    const at = this.#at;
    this.#chunk.set(frame, at);
    this.#at += frame.length;
    return at;
  }

  /** Writes what was added. */
  flush(): void {
    if (this.#at > this.#from) this.#socket?.write(this.#chunk.subarray(this.#from, this.#at));
    this.#from = this.#at;
    this.#socket = undefined;
  }
}
