import { randomBytes } from "node:crypto";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Claim } from "#platform/registry/registry.ts";
import { Cursors } from "./cursors.ts";
import { kickFrame } from "./frames.ts";
import type { Socket } from "./socket.ts";
import { TokenBucket } from "./token-bucket.ts";

/** How a session ended: by us with a code of the contract, or by the device. */
export interface SessionEnd {
  /** The WebSocket's close code. */
  readonly code: number;
  /** For developers and the log. */
  readonly text: string;
}

/** Where a session stands. It moves forward only. */
export type SessionState =
  /** The socket is open; Hello has not come. */
  | { readonly kind: "greeting" }
  /** Hello came and is being worked on. The caller is known once the token is verified. */
  | { readonly kind: "opening"; readonly caller: UserCaller | undefined }
  /** Welcome was sent. */
  | { readonly kind: "open"; readonly caller: UserCaller }
  /** The socket has closed. */
  | { readonly kind: "closed"; readonly end: SessionEnd };

export interface SessionOptions {
  socket: Socket;
  nowMs: number;
  framesPerSecond: number;
  framesBurst: number;
  slowReaderBytes: number;
  /** Bytes that may wait for the socket at all. */
  maxBackpressureBytes: number;
  trackedConversations: number;
}

/** Close codes that are said before the session was anything worth a Kick frame, or by Move. */
const SILENT_CODES = new Set<CloseCode>([CloseCode.MOVE, CloseCode.HELLO_TIMEOUT]);

/** One live socket of one device. Dies with it. */
export class Session {
  readonly id = randomBytes(12).toString("base64url");
  readonly socket: Socket;
  readonly openedAtMs: number;
  readonly cursors: Cursors;
  readonly frames: TokenBucket;
  /** When the device last said something. */
  lastFrameAtMs: number;
  /** Since when the device does not read; undefined while it does. */
  slowSinceMs: number | undefined;
  /** The device was told when its access token expires; not yet so of a renewed one. */
  expiryAnnounced = false;
  /** A group's delivery was dropped on the way to the socket. */
  missedGroupEntries = false;
  /** Sends without a result, and calls without an answer. */
  sendsInFlight = 0;
  callsInFlight = 0;
  /** The session's place in the registry, once asked for. */
  claim: Claim | undefined;
  /** While the registry is being asked for it; settles when it answered. */
  claiming: Promise<unknown> | undefined;
  readonly #slowReaderBytes: number;
  #ended: AbortController | undefined;
  #state: SessionState = { kind: "greeting" };
  #wish: SessionEnd | undefined;

  constructor(options: SessionOptions) {
    const { framesPerSecond: perSecond, framesBurst: burst, nowMs } = options;
    this.socket = options.socket;
    this.openedAtMs = nowMs;
    this.lastFrameAtMs = nowMs;
    this.cursors = new Cursors(options.trackedConversations);
    this.frames = new TokenBucket({ perSecond, burst, nowMs });
    // Well below the bound of the socket, where what the device can do without would end it.
    this.#slowReaderBytes = Math.min(options.slowReaderBytes, options.maxBackpressureBytes / 2);
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Whose it is; undefined until the token is verified and after the end. */
  get caller(): UserCaller | undefined {
    const state = this.#state;
    return state.kind === "opening" || state.kind === "open" ? state.caller : undefined;
  }

  get isOpen(): boolean {
    return this.#state.kind === "open";
  }

  /** Aborts when the session has closed. */
  get ended(): AbortSignal {
    // Most sessions never make a call: only those that do pay for it.
    this.#ended ??= new AbortController();
    if (this.#state.kind === "closed") this.#ended.abort();
    return this.#ended.signal;
  }

  /** The one place where the state changes. Throws on a step back, which is a fault of ours. */
  transition(next: SessionState): void {
    const order = { greeting: 0, opening: 1, open: 2, closed: 3 };
    const from = this.#state.kind;
    if (order[next.kind] < order[from] || from === "closed") {
      throw new Error(`a session cannot go from ${from} to ${next.kind}`);
    }
    this.#state = next;
    this.expiryAnnounced = false;
    if (next.kind === "closed") this.#ended?.abort();
  }

  /** Sends a frame that the device counts on. A device that cannot even take that is cut off. */
  sendRequired(frame: Uint8Array): void {
    if (this.socket.send(frame) === "dropped") this.terminate();
  }

  /** Cuts the connection to a device that was not sent what it counts on. */
  terminate(): void {
    if (this.#state.kind === "closed") return;
    this.#wish ??= { code: 1006, text: "the device does not read" };
    this.socket.terminate();
  }

  /**
   * Sends a frame that the device can do without, because it can sync. False when it was not sent:
   * the device does not read fast enough.
   */
  sendOptional(frame: Uint8Array, nowMs: number): boolean {
    if (this.slowSinceMs !== undefined || this.#state.kind !== "open") return false;
    if (
      this.socket.waitingBytes() <= this.#slowReaderBytes &&
      this.socket.send(frame) !== "dropped"
    ) {
      return true;
    }
    this.slowSinceMs = nowMs;
    return false;
  }

  /** Whether a slow device has read enough to be served again. */
  hasRoom(): boolean {
    return this.socket.waitingBytes() <= this.#slowReaderBytes / 2;
  }

  /** Ends the session for a reason of the contract: Kick frame, then the close code. */
  end(code: CloseCode, text: string): void {
    if (this.#state.kind === "closed") return;
    this.#wish ??= { code, text };
    if (this.#state.kind !== "greeting" && !SILENT_CODES.has(code)) {
      this.socket.send(kickFrame(code, text));
    }
    this.socket.end(code, text);
  }

  /** Why the session ends: what we wished, else what the socket reports. */
  endReason(code: number): SessionEnd {
    return this.#wish ?? { code, text: "closed by the device" };
  }
}
