import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type ClientFrame,
  ClientFrameSchema,
  type ServerFrame,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";

type ServerKind = Exclude<ServerFrame["kind"], { case: undefined }>;
type ClientKind = Exclude<ClientFrame["kind"], { case: undefined }>;
type ValueOf<K extends ServerKind["case"]> = Extract<ServerKind, { case: K }>["value"];

/** Time-out of a wait for a frame, ms. */
const WAIT_TIMEOUT_MS = 60_000;

/** Close frame of a socket. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/**
 * A device that does nothing by itself: it sends no acknowledgement and no heartbeat, and does not
 * reconnect. For stories about how the server treats such devices.
 */
export class RawDevice {
  readonly #socket: WebSocket;
  readonly #frames: ServerKind[] = [];
  readonly #waiting = new Set<() => void>();
  /** Resolves when the socket has closed. */
  readonly closed: Promise<Closed>;
  #closedWith: Closed | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", (event) => {
      const frame = fromBinary(ServerFrameSchema, new Uint8Array(event.data as ArrayBuffer));
      if (frame.kind.case !== undefined) this.#frames.push(frame.kind);
      this.#wake();
    });
    this.closed = new Promise((resolve) => {
      socket.addEventListener("close", (event) => {
        this.#closedWith = { code: event.code, reason: event.reason };
        resolve(this.#closedWith);
        this.#wake();
      });
    });
  }

  get isClosed(): boolean {
    return this.#closedWith !== undefined;
  }

  /** Opens a WebSocket to a gateway or connect address ("http://host:port"); sends no frame yet. */
  static async open(
    address: string,
    path = "/ws",
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawDevice> {
    const url = new URL(path, address);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    // Only Node's WebSocket takes headers; the standard has no such option.
    const options = { protocols: ["lucky.v1"], headers } as unknown as string[];
    const device = new RawDevice(new WebSocket(url, options));
    await new Promise<void>((resolve, reject) => {
      device.#socket.addEventListener("open", () => resolve());
      device.#socket.addEventListener("error", () => reject(new Error(`no WebSocket at ${url}`)));
    });
    return device;
  }

  /** Opens a session: connects, sends Hello, waits for Welcome. */
  static async hello(address: string, accessToken: string): Promise<RawDevice> {
    const device = await RawDevice.open(address);
    device.send({ case: "hello", value: { accessToken, clientVersion: "0.1", clientName: "raw" } });
    await device.next("welcome");
    return device;
  }

  send(kind: { [K in ClientKind["case"]]: { case: K; value: object } }[ClientKind["case"]]): void {
    const frame = create(ClientFrameSchema, { kind: kind as never });
    this.sendBytes(toBinary(ClientFrameSchema, frame));
  }

  sendBytes(bytes: Uint8Array<ArrayBuffer>): void {
    this.#socket.send(bytes);
  }

  /**
   * Takes the oldest frame of a kind that `match` accepts, and waits for one if there is none. Other
   * frames stay. Rejects when the socket closes, or after WAIT_TIMEOUT_MS.
   */
  async next<K extends ServerKind["case"]>(
    kind: K,
    match: (value: ValueOf<K>) => boolean = () => true,
  ): Promise<ValueOf<K>> {
    const untilMs = Date.now() + WAIT_TIMEOUT_MS;
    for (;;) {
      const at = this.#frames.findIndex((f) => f.case === kind && match(f.value as ValueOf<K>));
      if (at >= 0) return this.#frames.splice(at, 1)[0]!.value as ValueOf<K>;
      if (this.#closedWith)
        throw new Error(`closed with ${this.#closedWith.code} while waiting for ${kind}`);
      if (Date.now() >= untilMs) throw new Error(`no ${kind} within ${WAIT_TIMEOUT_MS} ms`);
      await this.#nextEvent(untilMs);
    }
  }

  /** Frames of a kind that have arrived and were not taken. */
  seen<K extends ServerKind["case"]>(kind: K): ValueOf<K>[] {
    return this.#frames.filter((f) => f.case === kind).map((f) => f.value as ValueOf<K>);
  }

  /** Sends an empty heartbeat and waits for its answer: all earlier frames have arrived by then. */
  async roundTrip(): Promise<void> {
    this.send({ case: "heartbeat", value: {} });
    await this.next("heartbeat");
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  async #nextEvent(untilMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#waiting.add(resolve);
      timer = setTimeout(resolve, untilMs - Date.now());
    });
    clearTimeout(timer);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
