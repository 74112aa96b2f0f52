import type { Dialect, FrameHandler } from "../dialects/dialect.ts";
import type { MessageKey } from "../dialects/key.ts";
import { LeanWebSocket } from "../dialects/websocket.ts";
import type { Template, WriteBuffer } from "./write-buffer.ts";

/** As in the client, devices throttle acknowledgements: one per 400 to 600 ms, spread over the devices. */
const ACKNOWLEDGE_INTERVAL_US = 400_000;
const ACKNOWLEDGE_SPREAD_STEPS = 20;
const ACKNOWLEDGE_STEP_US = 10_000;

/** Events of a device. */
export interface DeviceEvents {
  accepted(device: Device): void;
  /** `key` is undefined when the server could not read the message. */
  refused(device: Device, key: Readonly<MessageKey> | undefined, result: Uint8Array): void;
  delivered(device: Device, key: Readonly<MessageKey>, sequence: number): void;
  syncRequired(device: Device): void;
  /** An encoded RpcResult arrived; the bytes are valid during the call. */
  answered(device: Device, result: Uint8Array): void;
  /** An open session ended. */
  ended(device: Device, code: number, reason: string): void;
}

export interface DeviceOptions {
  readonly index: number;
  readonly url: string;
  readonly token: string;
  readonly localAddress?: string | undefined;
  readonly dialect: Dialect;
  /** Frame of its messages; undefined for a device that sends nothing. */
  readonly template?: Template | undefined;
  readonly writeBuffer: WriteBuffer;
  readonly readBuffer: Buffer;
  readonly events: DeviceEvents;
}

/**
 * A device of the bench: one session, in one conversation. It stores the position to acknowledge until the
 * next call of `acknowledge`.
 */
export class Device implements FrameHandler {
  readonly index: number;
  /** Key of the message that is being read; reused for every message. */
  readonly key: MessageKey = { timeUs: 0, user: 0, number: 0 };
  readonly stanzas = { received: 0, confirmed: 0 };
  readonly #options: DeviceOptions;
  #socket: LeanWebSocket;
  #state: "opening" | "open" | "closed" = "opening";
  #opened: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #conversation = Buffer.alloc(0);
  #sequence = 0;
  #acknowledged = 0;
  #acknowledgeFromUs = 0;

  private constructor(options: DeviceOptions) {
    this.#options = options;
    this.index = options.index;
    const { dialect, writeBuffer, readBuffer, url, localAddress } = options;
    this.#socket = new LeanWebSocket({
      url: new URL(dialect.path, url).href,
      protocol: dialect.protocol,
      localAddress,
      readBuffer,
      events: {
        opened: () => this.#socket.write(dialect.hello(options.token)),
        message: (bytes, from, to) => dialect.read(bytes, from, to, this),
        chunkRead: () => writeBuffer.flush(),
        closed: (code, reason) => this.#closed(code, reason),
      },
    });
  }

  /** Opens a session; resolves with the welcome of the server. */
  static open(options: DeviceOptions): Promise<Device> {
    return new Promise((resolve, reject) => {
      const device = new Device(options);
      device.#opened = { resolve: () => resolve(device), reject };
    });
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Adds a message to the write buffer. */
  send(key: Readonly<MessageKey>): void {
    const { writeBuffer, template } = this.#options;
    if (template === undefined) throw new Error("this device has nothing to send");
    writeBuffer.send(this.#socket, template, key);
  }

  /** Acknowledges new entries, unless the throttle delays it. */
  acknowledge(nowUs: number): void {
    if (this.#sequence <= this.#acknowledged || this.#state !== "open") return;
    if (nowUs < this.#acknowledgeFromUs) return;
    this.#acknowledgeFromUs =
      nowUs +
      ACKNOWLEDGE_INTERVAL_US +
      (this.index % ACKNOWLEDGE_SPREAD_STEPS) * ACKNOWLEDGE_STEP_US;
    this.#acknowledged = this.#sequence;
    const { dialect, writeBuffer } = this.#options;
    const frame = dialect.acknowledge(this.#conversation, this.#sequence);
    if (frame) writeBuffer.add(this.#socket, frame);
  }

  heartbeat(): void {
    this.write(this.#options.dialect.heartbeat);
  }

  /** Adds a frame to the write buffer. */
  write(frame: Buffer): void {
    if (this.#state === "open") this.#options.writeBuffer.add(this.#socket, frame);
  }

  close(): void {
    this.#state = "closed";
    this.#socket.close();
  }

  /** Drops the connection without a close frame, like a device that loses its network. */
  cut(): void {
    this.#state = "closed";
    this.#socket.cut();
  }

  welcome(): void {
    this.#state = "open";
    this.#opened?.resolve();
  }

  accepted(): void {
    this.#options.events.accepted(this);
  }

  refused(bytes: Buffer, from: number, to: number, keyed: boolean): void {
    const result = bytes.subarray(from, to);
    this.#options.events.refused(this, keyed ? this.key : undefined, result);
  }

  entry(sequence: number, bytes: Buffer, conversationFrom: number, conversationTo: number): void {
    if (this.#conversation.length === 0) {
      this.#conversation = Buffer.from(bytes.subarray(conversationFrom, conversationTo));
    }
    if (sequence > this.#sequence) this.#sequence = sequence;
  }

  delivered(sequence: number): void {
    this.#options.events.delivered(this, this.key, sequence);
  }

  syncRequired(): void {
    this.#options.events.syncRequired(this);
  }

  answered(bytes: Buffer, from: number, to: number): void {
    this.#options.events.answered(this, bytes.subarray(from, to));
  }

  #closed(code: number, reason: string): void {
    const before = this.#state;
    this.#state = "closed";
    if (before === "open") this.#options.events.ended(this, code, reason);
    else this.#opened?.reject(new Error(`a session ended with ${code} ${reason}`));
  }
}
