import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  CloseCode,
  type ServerFrame,
  ServerFrameSchema,
  type Welcome,
} from "../../gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "../clock.ts";

/** How long opening may take, to Welcome. */
const OPEN_TIMEOUT_MS = 10_000;
/** How long the peer may take to answer a close. */
const CLOSE_TIMEOUT_MS = 2_000;
/** WebSocket's own code for a connection that broke without a word. */
const ABNORMAL_CLOSURE = 1006;

export type ServerFrameKind = Exclude<ServerFrame["kind"], { case: undefined }>;
export type ClientFrameKind = Exclude<
  NonNullable<MessageInitShape<typeof ClientFrameSchema>["kind"]>,
  { case?: undefined }
>;

/** How a connection ended: the WebSocket's close code, the contract's among them. */
export interface Ended {
  readonly code: number;
  readonly text: string;
  /** When Welcome came, by the clock; undefined when it never did. */
  readonly openedAtMs: number | undefined;
}

/** What a connection needs. */
export interface ConnectionOptions {
  readonly url: string;
  readonly webSocket: typeof WebSocket;
  readonly clock: Clock;
  readonly accessToken: string;
  readonly clientVersion: string;
  readonly welcome: (welcome: Welcome) => void;
  readonly frame: (frame: ServerFrameKind) => void;
}

/** One WebSocket, from opening to its end: Hello, Welcome, heartbeats, frames. */
export class Connection {
  /** Resolves when it has ended, for whatever reason. Never rejects. */
  readonly ended: Promise<Ended>;
  readonly #options: ConnectionOptions;
  readonly #socket: WebSocket;
  #resolveEnded: (ended: Ended) => void = () => {};
  #hasEnded = false;
  #openedAtMs: number | undefined;
  #heartbeat: Timer | undefined;
  #timeout: Timer;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#timeout = options.clock.after(OPEN_TIMEOUT_MS, () =>
      this.#end(ABNORMAL_CLOSURE, "no Welcome in time"),
    );
    const socket = new options.webSocket(options.url, "lucky.v1");
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      const { accessToken, clientVersion } = options;
      this.send({ case: "hello", value: { accessToken, clientVersion } });
    });
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", ({ code, reason }) => this.#end(code, reason));
  }

  /** Writes a frame; false when the connection cannot take it. */
  send(kind: ClientFrameKind): boolean {
    return this.sendBytes(toBinary(ClientFrameSchema, create(ClientFrameSchema, { kind })));
  }

  /** Writes an encoded ClientFrame; false when the connection cannot take it. */
  sendBytes(frame: Uint8Array): boolean {
    if (this.#hasEnded || this.#socket.readyState !== this.#socket.OPEN) return false;
    this.#socket.send(frame as Uint8Array<ArrayBuffer>);
    return true;
  }

  /** Closes in good order, after what was written. Resolves when the peer has agreed, or is silent. */
  close(): Promise<Ended> {
    if (!this.#hasEnded) {
      this.#timeout.stop();
      this.#timeout = this.#options.clock.after(CLOSE_TIMEOUT_MS, () => this.#end(1000, ""));
      this.#socket.close(1000);
    }
    return this.ended;
  }

  /** Gives the connection up without waiting for the peer. */
  drop(text: string): void {
    this.#end(ABNORMAL_CLOSURE, text);
  }

  #receive(data: unknown): void {
    if (this.#hasEnded || !(data instanceof ArrayBuffer)) return;
    let kind: ServerFrame["kind"];
    try {
      kind = fromBinary(ServerFrameSchema, new Uint8Array(data)).kind;
    } catch {
      this.#end(CloseCode.PROTOCOL_ERROR, "a frame that cannot be read");
      return;
    }
    if (kind.case === "welcome") {
      // It comes too late for a connection that is being closed.
      if (this.#socket.readyState !== this.#socket.OPEN) return;
      this.#openedAtMs = this.#options.clock.now();
      this.#startHeartbeats(Number(kind.value.heartbeatIntervalMs));
      this.#options.welcome(kind.value);
    } else if (
      kind.case !== undefined &&
      (this.#openedAtMs !== undefined || kind.case === "kick")
    ) {
      this.#options.frame(kind);
    }
  }

  /** Says that the device is alive, and gives up when nothing was heard for two intervals. */
  #startHeartbeats(intervalMs: number): void {
    const { clock } = this.#options;
    let silentSinceMs = clock.now();
    this.#socket.addEventListener("message", () => {
      silentSinceMs = clock.now();
    });
    const beat = () => {
      if (clock.now() - silentSinceMs >= 2 * intervalMs) {
        this.#end(CloseCode.HEARTBEAT_TIMEOUT, "nothing heard for two intervals");
        return;
      }
      this.send({ case: "heartbeat", value: {} });
      this.#heartbeat = clock.after(intervalMs / 2, beat);
    };
    this.#timeout.stop();
    this.#heartbeat = clock.after(intervalMs / 2, beat);
  }

  #end(code: number, text: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#timeout.stop();
    this.#heartbeat?.stop();
    this.#socket.close();
    this.#resolveEnded({ code, text, openedAtMs: this.#openedAtMs });
  }
}
