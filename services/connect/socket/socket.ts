/**
 * Result of a send. "sent": the frame was accepted, and no earlier bytes wait until the peer reads.
 * "kept": the frame was accepted after such bytes. "dropped": the queue is full or the socket has
 * closed.
 */
export type Sent = "sent" | "kept" | "dropped";

/** One WebSocket. Every method does nothing after the socket has closed. */
export interface Socket {
  /** Address of the peer, as text. */
  readonly peer: string;
  /**
   * Sends one binary frame. Frames of the same moment are flushed in one write, so the caller must
   * not change the bytes after the call.
   */
  send(frame: Uint8Array): Sent;
  /** Sends a WebSocket ping. Browsers and libraries answer it by themselves. */
  ping(): void;
  /** Bytes queued until the peer reads. */
  waitingBytes(): number;
  /** Subscribes to a topic. Frames sent before the call stay ahead of the topic's frames. */
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Closes with a code. Terminates the connection instead when the peer does not read. */
  end(code: number, text: string): void;
  /** Drops the connection without a close code. */
  terminate(): void;
}
