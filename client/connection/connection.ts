import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  ClientFrameSchema,
  CloseCode,
  type ServerFrame,
  ServerFrameSchema,
  type Welcome,
} from "../../gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "../clock.ts";
import type { TraceOptions } from "../trace-options.ts";
import { helloOf, type Program } from "./hello.ts";
import { ServerSilence } from "./server-silence.ts";

/** Time-out from opening the socket to Welcome, ms. */
const OPEN_TIMEOUT_MS = 10_000;
/** Time-out for the peer's answer to a close, ms. */
const CLOSE_TIMEOUT_MS = 2_000;
/** WebSocket's close code for a connection that ended without a close frame (RFC 6455, 7.1.5). */
export const ABNORMAL_CLOSURE = 1006;

export type ServerFrameKind = Exclude<ServerFrame["kind"], { case: undefined }>;
export type ClientFrameKind = Exclude<
  NonNullable<MessageInitShape<typeof ClientFrameSchema>["kind"]>,
  { case?: undefined }
>;

/** The end of a connection: a close code of WebSocket or of the contract's CloseCode. */
export interface Ended {
  readonly code: number;
  readonly text: string;
  /** Time of Welcome, by the clock; undefined when none arrived. */
  readonly openedAtMs: number | undefined;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly webSocket: typeof WebSocket;
  readonly clock: Clock;
  readonly accessToken: string;
  readonly program: Program;
  readonly welcome: (welcome: Welcome) => void;
  readonly frame: (frame: ServerFrameKind) => void;
}

/** One WebSocket, from opening to its end: Hello, Welcome, heartbeats, frames. */
export class Connection {
  /** Resolves when the connection has ended, for any reason. Never rejects. */
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
      this.send({ case: "hello", value: helloOf(options.accessToken, options.program) });
    });
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", ({ code, reason }) => this.#end(code, reason));
    // Node fires no close event when the server refuses the upgrade.
    socket.addEventListener("error", () => this.#end(ABNORMAL_CLOSURE, "the connection failed"));
  }

  /** Writes a frame; false when the connection cannot take it. */
  send(kind: ClientFrameKind, { traceparent = "" }: TraceOptions = {}): boolean {
    const frame = create(ClientFrameSchema, { kind, traceparent });
    return this.sendBytes(toBinary(ClientFrameSchema, frame));
  }

  /** Writes an encoded ClientFrame; false when the connection cannot take it. */
  sendBytes(frame: Uint8Array): boolean {
    if (this.#hasEnded || this.#socket.readyState !== this.#socket.OPEN) return false;
    this.#socket.send(frame as Uint8Array<ArrayBuffer>);
    return true;
  }

  /**
   * Closes after the frames written so far. Resolves when the peer has answered, or after a
   * time-out.
   */
  close(): Promise<Ended> {
    if (!this.#hasEnded) {
      this.#timeout.stop();
      this.#timeout = this.#options.clock.after(CLOSE_TIMEOUT_MS, () => this.#end(1000, ""));
      this.#socket.close(1000);
    }
    return this.ended;
  }

  /** Ends the connection at once, without waiting for the peer. */
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
      // Guards against a race: the connection is already closing.
      if (this.#socket.readyState !== this.#socket.OPEN) return;
      this.#openedAtMs = this.#options.clock.elapsed();
      this.#startHeartbeats(Number(kind.value.heartbeatIntervalMs));
      this.#options.welcome(kind.value);
    } else if (
      kind.case !== undefined &&
      (this.#openedAtMs !== undefined || kind.case === "kick")
    ) {
      this.#options.frame(kind);
    }
  }

  /** Sends heartbeats, and ends the connection when the server does not answer them. */
  #startHeartbeats(intervalMs: number): void {
    const { clock } = this.#options;
    const silence = new ServerSilence(clock, intervalMs);
    this.#socket.addEventListener("message", () => silence.heard());
    const schedule = () => {
      silence.scheduled();
      this.#heartbeat = clock.after(intervalMs / 2, () => {
        if (silence.isTooLong()) {
          this.#end(CloseCode.HEARTBEAT_TIMEOUT, "nothing received for two intervals");
          return;
        }
        this.send({ case: "heartbeat", value: {} });
        schedule();
      });
    };
    this.#timeout.stop();
    schedule();
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
