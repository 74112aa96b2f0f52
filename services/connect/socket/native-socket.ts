import type * as uWS from "uWebSockets.js";
import type { Place } from "#platform/connections/connection-bounds.ts";
import type { Sent, Socket } from "./socket.ts";

/**
 * From this number of queued bytes on, a socket is terminated instead of closed with a code: the
 * peer does not read, so a close frame would only occupy memory.
 */
const CLOSE_FRAME_LIMIT_BYTES = 65_536;

/** Batched frames of a socket are flushed at once when they reach this size, bytes. */
const FLUSH_BYTES = 65_536;

/** Return value of uWebSockets.js for a frame dropped because of back-pressure. */
const NATIVE_DROPPED = 2;

/** User data of a native socket. */
export interface Attached<T> {
  readonly peer: string;
  /** Place among the connections of the process; undefined when they have no bounds. */
  readonly place: Place | undefined;
  /** Result of `SocketEvents.accept`; undefined until the socket is open. */
  accepted: T | undefined;
  socket: NativeSocket<T> | undefined;
}

/**
 * Sockets with frames to be flushed at the end of the next turn of the event loop. The result of a
 * send and the frames that the other user sent in the meantime share one system call, which costs
 * more than all other work for a frame (measured: 17 % more messages a second with one in flight
 * per user).
 */
export class WriteQueue<T> {
  #sockets: NativeSocket<T>[] = [];
  /** Bytes that may be queued on one socket. */
  readonly maxBytes: number;
  /** Called after a flush in which at least one frame was dropped. */
  readonly lost: (attached: Attached<T>) => void;

  constructor(maxBytes: number, lost: (attached: Attached<T>) => void) {
    this.maxBytes = maxBytes;
    this.lost = lost;
  }

  add(socket: NativeSocket<T>): void {
    this.#sockets.push(socket);
    if (this.#sockets.length === 1) setImmediate(() => setImmediate(() => this.#flush()));
  }

  #flush(): void {
    const sockets = this.#sockets;
    this.#sockets = [];
    for (const socket of sockets) socket.flush();
  }
}

/** Guards a native socket, which throws when it is used after it closed. */
export class NativeSocket<T> implements Socket {
  readonly peer: string;
  readonly #writes: WriteQueue<T>;
  #native: uWS.WebSocket<Attached<T>> | undefined;
  /** Frames to be flushed. Absent when there are none: most sockets are idle. */
  #frames: Uint8Array[] | undefined;
  #bytes = 0;

  constructor(native: uWS.WebSocket<Attached<T>>, peer: string, writes: WriteQueue<T>) {
    this.#native = native;
    this.peer = peer;
    this.#writes = writes;
  }

  send(frame: Uint8Array): Sent {
    if (!this.#native) return "dropped";
    const waiting = this.#native.getBufferedAmount();
    if (waiting > this.#writes.maxBytes) return "dropped";
    this.#frames ??= [];
    this.#frames.push(frame);
    this.#bytes += frame.length;
    // The batch is bounded, because only written bytes show whether the peer reads.
    if (this.#bytes >= FLUSH_BYTES) this.flush();
    else if (this.#frames.length === 1) this.#writes.add(this);
    if (!this.#native) return "dropped";
    return waiting === 0 ? "sent" : "kept";
  }

  ping(): void {
    this.#native?.ping();
  }

  waitingBytes(): number {
    return this.#native?.getBufferedAmount() ?? 0;
  }

  /** Writes the frames that were sent since the last flush. */
  flush(): void {
    const native = this.#native;
    const frames = this.#frames;
    if (!frames) return;
    this.#frames = undefined;
    this.#bytes = 0;
    if (!native) return;
    let lost = false;
    if (frames.length === 1) {
      lost = native.send(frames[0]!, true) === NATIVE_DROPPED;
    } else {
      native.cork(() => {
        for (const frame of frames) if (native.send(frame, true) === NATIVE_DROPPED) lost = true;
      });
    }
    if (lost) this.#writes.lost(native.getUserData());
  }

  subscribe(topic: string): void {
    this.flush();
    this.#native?.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#native?.unsubscribe(topic);
  }

  end(code: number, text: string): void {
    this.flush();
    const native = this.#native;
    if (!native) return;
    this.#native = undefined;
    if (native.getBufferedAmount() > CLOSE_FRAME_LIMIT_BYTES) native.close();
    else native.end(code, text);
  }

  terminate(): void {
    const native = this.#native;
    this.#native = undefined;
    native?.close();
  }

  /** The native socket has closed. Later calls do nothing. */
  detach(): void {
    this.#native = undefined;
  }
}
