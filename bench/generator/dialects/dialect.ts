import type { MessageKey } from "./key.ts";

/** Where a device sends to: ids are decimal strings, or whatever the server measured calls it. */
export interface Target {
  readonly kind: "user" | "conversation";
  readonly id: string;
}

/** What a device hears; `key` is filled before the calls that concern the message of it. */
export interface FrameHandler {
  readonly key: MessageKey;
  /** For servers that confirm by count: how many came, and how many of ours are confirmed. */
  readonly stanzas: { received: number; confirmed: number };
  /** The session is open. */
  welcome(): void;
  /** A message of this device is in the log; not every server says which. */
  accepted(): void;
  /** A message was not stored; that of `key` when `keyed`. The bytes are the SendResult. */
  refused(bytes: Buffer, from: number, to: number, keyed: boolean): void;
  /** An entry came; its conversation's id lies in the bytes. Also for what is no message of the bench. */
  entry(sequence: number, bytes: Buffer, conversationFrom: number, conversationTo: number): void;
  /** The message of `key` was delivered. */
  delivered(sequence: number): void;
  /** The server says that entries are missing. */
  syncRequired(): void;
  /** A call was answered: the bytes are the RpcResult. */
  answered(bytes: Buffer, from: number, to: number): void;
}

/** What a server wants to hear and says: Lucky's frames, or those of another that is compared. */
export interface Dialect {
  readonly path: string;
  readonly protocol: string | undefined;
  /** The first frame. */
  hello(token: string): Buffer;
  readonly heartbeat: Buffer;
  /** A frame with a text message, and where in it the key belongs. */
  sendTemplate(target: Target, text: string): { frame: Buffer; keyAt: number };
  /** A frame that acknowledges; undefined when the server knows no such thing. */
  acknowledge(conversation: Uint8Array, sequence: number): Buffer | undefined;
  /** Reads one message of the server. */
  read(bytes: Buffer, from: number, to: number, handler: FrameHandler): void;
}
