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

/** How long something that should happen may take, before waiting for it fails. */
const PATIENCE_MS = 60_000;

/** How a socket ended. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/**
 * A device that does only what it is told: no acknowledgement, no reconnect, no heartbeat of its
 * own. For stories about what the server does with such devices.
 */
export class RawDevice {
  readonly #socket: WebSocket;
  readonly #frames: ServerKind[] = [];
  readonly #waiting = new Set<() => void>();
  /** Resolves when the socket has closed. */
  readonly closed: Promise<Closed>;
  #end: Closed | undefined;

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
        this.#end = { code: event.code, reason: event.reason };
        resolve(this.#end);
        this.#wake();
      });
    });
  }

  /** Opens the WebSocket of a gateway or connect address ("http://host:port"); says nothing yet. */
  static async open(
    address: string,
    path = "/ws",
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawDevice> {
    const url = new URL(path, address);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    // Headers are no part of the standard, only of Node's WebSocket.
    const options = { protocols: ["lucky.v1"], headers } as unknown as string[];
    const device = new RawDevice(new WebSocket(url, options));
    await new Promise<void>((resolve, reject) => {
      device.#socket.addEventListener("open", () => resolve());
      device.#socket.addEventListener("error", () => reject(new Error(`no WebSocket at ${url}`)));
    });
    return device;
  }

  /** Opens a session: connects, says Hello, waits for Welcome. */
  static async hello(address: string, accessToken: string): Promise<RawDevice> {
    const device = await RawDevice.open(address);
    device.send({ case: "hello", value: { accessToken, clientVersion: "raw" } });
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
   * Takes the oldest frame of a kind that `match` accepts, waiting for it; others stay. Rejects when
   * the socket closes, or none comes for a minute.
   */
  async next<K extends ServerKind["case"]>(
    kind: K,
    match: (value: ValueOf<K>) => boolean = () => true,
  ): Promise<ValueOf<K>> {
    const untilMs = Date.now() + PATIENCE_MS;
    for (;;) {
      const at = this.#frames.findIndex((f) => f.case === kind && match(f.value as ValueOf<K>));
      if (at >= 0) return this.#frames.splice(at, 1)[0]!.value as ValueOf<K>;
      if (this.#end) throw new Error(`closed with ${this.#end.code} while waiting for ${kind}`);
      if (Date.now() >= untilMs) throw new Error(`no ${kind} within ${PATIENCE_MS} ms`);
      await this.#news(untilMs);
    }
  }

  /** Frames of a kind that have come and were not taken. */
  seen<K extends ServerKind["case"]>(kind: K): ValueOf<K>[] {
    return this.#frames.filter((f) => f.case === kind).map((f) => f.value as ValueOf<K>);
  }

  /** Sends an empty heartbeat and waits for its answer: whatever came before it is here by then. */
  async roundTrip(): Promise<void> {
    this.send({ case: "heartbeat", value: {} });
    await this.next("heartbeat");
  }

  async close(): Promise<void> {
    this.#socket.close();
    await this.closed;
  }

  async #news(untilMs: number): Promise<void> {
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
