import type { MessageKey } from "./key.ts";

/** Receiver of messages. For Lucky the id is a decimal string; other servers have their own ids. */
export interface Target {
  readonly kind: "user" | "conversation";
  readonly id: string;
}

/** Handles the messages of a server. The reader fills `key` before it makes a call about a message. */
export interface FrameHandler {
  readonly key: MessageKey;
  /** For servers that confirm by count: stanzas received, and own stanzas confirmed. */
  readonly stanzas: { received: number; confirmed: number };
  /** The session is open. */
  welcome(): void;
  /** A message of this device is in the log. Some servers do not identify the message. */
  accepted(): void;
  /** A message was not stored: the message of `key` if `keyed`. The bytes are the SendResult. */
  refused(bytes: Buffer, from: number, to: number, keyed: boolean): void;
  /**
   * An entry arrived; the bytes hold its conversation's id. Also called for entries that the bench did not
   * send.
   */
  entry(sequence: number, bytes: Buffer, conversationFrom: number, conversationTo: number): void;
  /** The message of `key` was delivered. */
  delivered(sequence: number): void;
  /** The server reports that entries are missing. */
  syncRequired(): void;
  /** A call was answered; the bytes are the RpcResult. */
  answered(bytes: Buffer, from: number, to: number): void;
}

/** Protocol of a server: Lucky, or a server that Lucky is compared with. */
export interface Dialect {
  readonly path: string;
  readonly protocol: string | undefined;
  /** The first frame. */
  hello(token: string): Buffer;
  readonly heartbeat: Buffer;
  /** A frame with a text message, and the offset of its key. */
  sendTemplate(target: Target, text: string): { frame: Buffer; keyAt: number };
  /** A frame that acknowledges up to a sequence; undefined when the server has no acknowledgements. */
  acknowledge(conversation: Uint8Array, sequence: number): Buffer | undefined;
  /** Reads one frame of the server. */
  read(bytes: Buffer, from: number, to: number, handler: FrameHandler): void;
}
