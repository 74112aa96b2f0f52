import { randomBytes } from "node:crypto";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Claim } from "#platform/registry/registry.ts";
import { Cursors } from "./cursors.ts";
import { kickFrame } from "./frames.ts";
import type { Socket } from "./socket.ts";
import { TokenBucket } from "./token-bucket.ts";

/** How a session ended: closed by this service with a code of the contract, or by the device. */
export interface SessionEnd {
  /** The WebSocket's close code. */
  readonly code: number;
  /** Text for developers and for the log. */
  readonly text: string;
}

/** State of a session. It moves forward only. */
export type SessionState =
  /** The socket is open; Hello has not arrived. */
  | { readonly kind: "greeting" }
  /** Hello is being processed. The caller is known once the token is verified. */
  | { readonly kind: "opening"; readonly caller: UserCaller | undefined }
  /** Welcome was sent. */
  | { readonly kind: "open"; readonly caller: UserCaller }
  /** The socket has closed. */
  | { readonly kind: "closed"; readonly end: SessionEnd };

/** Labels of a session's client, for metrics; bounded, whatever the client says. */
export interface ClientLabels {
  /** Known kinds of content that the client shows. */
  readonly kinds: readonly string[];
  /** A known revision of the protocol, or "later". */
  readonly revision: string;
}

/** The fields of a Kick that a client shows to its user. */
export interface KickNotice {
  readonly text: string;
  /** Address of a newer client; empty for none. */
  readonly upgradeUrl: string;
}

export interface SessionOptions {
  socket: Socket;
  /** Elapsed milliseconds, as all times of a session: a step of the time of day ends none. */
  nowMs: number;
  framesPerSecond: number;
  framesBurst: number;
  slowReaderBytes: number;
  /** Bytes that may be queued on the socket. */
  maxBackpressureBytes: number;
  trackedConversations: number;
}

/**
 * Close codes without a Kick frame: no session was opened yet, or the Move frame has already
 * announced the close.
 */
const CODES_WITHOUT_KICK = new Set<CloseCode>([CloseCode.MOVE, CloseCode.HELLO_TIMEOUT]);

/** One live socket of one device. It ends when the socket closes. */
export class Session {
  readonly id = randomBytes(12).toString("base64url");
  readonly socket: Socket;
  readonly openedAtMs: number;
  readonly cursors: Cursors;
  /** Budget of frames: its own until the token is verified, then the user's. */
  frames: TokenBucket;
  /** When the device last sent a frame. */
  lastFrameAtMs: number;
  /** When the device last answered a ping; 0 when it never did. */
  lastPongAtMs = 0;
  /** When the device became a slow reader; undefined while it reads. */
  slowSinceMs: number | undefined;
  /** When the current access token may end the session; set with the token. */
  tokenEndsAtMs = Number.POSITIVE_INFINITY;
  /** TokenExpiring was sent for the current access token. */
  expiryAnnounced = false;
  /** Labels of the client, while the session is counted as open. */
  client: ClientLabels | undefined;
  /** Optional frames that the client declined in its Hello, see `declinedFrames`. */
  declined: ReadonlySet<number> | undefined;
  /** A delivery to a group was dropped because of back-pressure. */
  missedGroupEntries = false;
  /** Sends without a result. */
  sendsInFlight = 0;
  /** Calls without an answer. */
  callsInFlight = 0;
  /** The session's claim to a device slot, once it was made. */
  claim: Claim | undefined;
  /** Present while the claim is in flight; settles with the registry's answer. */
  claiming: Promise<unknown> | undefined;
  readonly #slowReaderBytes: number;
  #ended: AbortController | undefined;
  #state: SessionState = { kind: "greeting" };
  #requestedEnd: SessionEnd | undefined;

  constructor(options: SessionOptions) {
    const { framesPerSecond: perSecond, framesBurst: burst, nowMs } = options;
    this.socket = options.socket;
    this.openedAtMs = nowMs;
    this.lastFrameAtMs = nowMs;
    this.cursors = new Cursors(options.trackedConversations);
    this.frames = new TokenBucket({ perSecond, burst, nowMs });
    // Well below the socket's bound: an optional frame must not fill the queue, because dropping a
    // required frame ends the session.
    this.#slowReaderBytes = Math.min(options.slowReaderBytes, options.maxBackpressureBytes / 2);
  }

  get state(): SessionState {
    return this.#state;
  }

  /**
   * The user and device; undefined until the token is verified, and after the session has closed.
   */
  get caller(): UserCaller | undefined {
    const state = this.#state;
    return state.kind === "opening" || state.kind === "open" ? state.caller : undefined;
  }

  get isOpen(): boolean {
    return this.#state.kind === "open";
  }

  /** Aborts when the session has closed. */
  get ended(): AbortSignal {
    // Created on first use: most sessions never make a call.
    this.#ended ??= new AbortController();
    if (this.#state.kind === "closed") this.#ended.abort();
    return this.#ended.signal;
  }

  /** The only place where the state changes. Throws on a backward transition, which is a bug. */
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

  /**
   * Sends a frame that the device relies on. When the socket drops it, the connection is
   * terminated.
   */
  sendRequired(frame: Uint8Array): void {
    if (this.socket.send(frame) === "dropped") this.terminate();
  }

  /** Terminates the connection to a device that misses a required frame. */
  terminate(): void {
    if (this.#state.kind === "closed") return;
    this.#requestedEnd ??= { code: 1006, text: "the device does not read" };
    this.socket.terminate();
  }

  /**
   * Sends a frame that may be skipped, because the device can sync. Returns false when it was not
   * sent: the session is not open, or the device reads too slowly and is marked as a slow reader.
   * `nowMs` is elapsed time.
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

  /** Whether a slow reader has read enough to resume deliveries. */
  hasRoom(): boolean {
    return this.socket.waitingBytes() <= this.#slowReaderBytes / 2;
  }

  /**
   * Ends the session with a code of the contract: a Kick frame, then the close code. `text` is for
   * developers; the Kick carries it unless there is a notice for the user.
   */
  end(code: CloseCode, text: string, notice: KickNotice = { text, upgradeUrl: "" }): void {
    if (this.#state.kind === "closed") return;
    this.#requestedEnd ??= { code, text };
    if (this.#state.kind !== "greeting" && !CODES_WITHOUT_KICK.has(code)) {
      this.socket.send(kickFrame({ code, ...notice }));
    }
    this.socket.end(code, text);
  }

  /**
   * Why the session ended: the code of `end` or `terminate`, else the one that the socket reports.
   */
  endReason(code: number): SessionEnd {
    return this.#requestedEnd ?? { code, text: "closed by the device" };
  }
}
