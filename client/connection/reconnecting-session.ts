import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, type Welcome } from "../../gen/lucky/frame/v1/frame_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause, type Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { TokenKeeper } from "../rpc/tokens.ts";
import { type ClientFrameKind, Connection, type ServerFrameKind } from "./connection.ts";

/** A session that lasted so long counts as success: the next reconnect is a quick one. */
const STABLE_SESSION_MS = 10_000;
/** Pause before coming back to a server that said it has enough. */
const BUSY_BACKOFF_MS = 1_000;
/** Pause before a token that could not be exchanged is tried again. */
const RENEWAL_RETRY_MS = 5_000;
/** Timers go no further than this. */
const MAX_TIMER_MS = 86_400_000;

/**
 * Why a link is closed: the caller closed it; the login is over, log in again; another session took
 * its place and the user decides which one stays; or as many devices of its class as allowed are
 * online, and none gives way.
 */
export type ClosedReason = "by-caller" | "login-over" | "replaced" | "device-limit";

/** What those are told who wanted something of a link that is closed. */
export function closedError(reason: ClosedReason): LuckyError {
  switch (reason) {
    case "by-caller":
      return new LuckyError(ErrorReason.UNAVAILABLE, "the client is closed");
    case "replaced":
      return new LuckyError(ErrorReason.UNAVAILABLE, "another session took the place");
    case "login-over":
      return new LuckyError(ErrorReason.TOKEN_REVOKED, "the login is over: log in again");
    case "device-limit":
      return new LuckyError(
        ErrorReason.DEVICE_LIMIT_REACHED,
        "as many devices of this class as allowed are online",
      );
  }
}

/** Where a link stands. */
export type SessionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "open" }
  | { readonly kind: "waiting"; readonly retryInMs: number }
  | { readonly kind: "closed"; readonly reason: ClosedReason };

/** What to do after a session ended. */
export type NextStep =
  | { readonly kind: "at-once" }
  | { readonly kind: "back-off"; readonly atLeastMs: number }
  /** After a pause, with another access token. */
  | { readonly kind: "refresh" }
  | { readonly kind: "stop"; readonly reason: ClosedReason };

/** What the close code of a session asks the device to do. */
export function afterClose(code: number): NextStep {
  switch (code) {
    case CloseCode.TOKEN_INVALID:
    case CloseCode.TOKEN_REVOKED:
      return { kind: "stop", reason: "login-over" };
    case CloseCode.REPLACED:
      return { kind: "stop", reason: "replaced" };
    case CloseCode.DEVICE_LIMIT_REACHED:
      return { kind: "stop", reason: "device-limit" };
    case CloseCode.TOKEN_EXPIRED:
      return { kind: "refresh" };
    case CloseCode.RATE_LIMITED:
    case CloseCode.UNAVAILABLE:
      return { kind: "back-off", atLeastMs: BUSY_BACKOFF_MS };
    default:
      return { kind: "back-off", atLeastMs: 0 };
  }
}

/** What a link needs. */
export interface ReconnectingSessionOptions {
  readonly clock: Clock;
  readonly webSocket: typeof WebSocket;
  readonly clientVersion: string;
  readonly tokens: TokenKeeper;
  /** URL of the WebSocket to open. Rejects with a LuckyError. */
  readonly endpoint: (signal: AbortSignal) => Promise<string>;
  readonly state: (state: SessionState) => void;
  /** A session is open. */
  readonly opened: (welcome: Welcome) => void;
  /** A frame of the open session. */
  readonly frame: (frame: ServerFrameKind) => void;
  /** The session that was open is gone. */
  readonly lost: () => void;
}

/** What a failure before the session asks the device to do. */
export function afterFailure(error: LuckyError): NextStep {
  switch (error.reason) {
    case ErrorReason.TOKEN_INVALID:
    case ErrorReason.TOKEN_REVOKED:
    case ErrorReason.REFRESH_TOKEN_INVALID:
      return { kind: "stop", reason: "login-over" };
    default:
      return { kind: "back-off", atLeastMs: error.retryAfterMs };
  }
}

/** Keeps one session open: connects, and connects again whenever that makes sense. */
export class ReconnectingSession {
  readonly #options: ReconnectingSessionOptions;
  readonly #backoff = new Backoff({ firstMs: 500, longestMs: 30_000 });
  #state: SessionState = { kind: "closed", reason: "by-caller" };
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #connection: Connection | undefined;
  #renewal: Timer | undefined;

  constructor(options: ReconnectingSessionOptions) {
    this.#options = options;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Starts to connect, unless it has already. */
  start(): void {
    if (this.#stop && !this.#stop.signal.aborted) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#running = this.#running.then(() => this.#run(stop));
  }

  /** Closes for good, until started again. Resolves when the socket is closed. */
  async stop(reason: ClosedReason): Promise<void> {
    this.#stop?.abort(reason);
    await this.#running;
  }

  /** Writes a frame on the open session; false when there is none. */
  send(kind: ClientFrameKind): boolean {
    return this.#state.kind === "open" && (this.#connection?.send(kind) ?? false);
  }

  /** Writes an encoded ClientFrame on the open session; false when there is none. */
  sendBytes(frame: Uint8Array): boolean {
    return this.#state.kind === "open" && (this.#connection?.sendBytes(frame) ?? false);
  }

  /** Gives the present session up and connects again. */
  reconnect(text: string): void {
    this.#connection?.drop(text);
  }

  /** There is a fresh access token: the session goes on with it. */
  renew(accessToken: string): void {
    if (this.send({ case: "renew", value: { accessToken } })) this.#planRenewal();
  }

  /** The server says that the session's token is near its end: it is exchanged now. */
  tokenExpiring(expiresAtMs: number): void {
    const { tokens } = this.#options;
    const { current } = tokens;
    if (!current) return;
    // A newer one is there: the server has not heard of it yet.
    if (Number(current.accessTokenExpiresAtMs) > expiresAtMs) this.renew(current.accessToken);
    // What fails now is tried again by the plan.
    else tokens.refresh(current.accessToken).catch(() => {});
  }

  async #run(stop: AbortController): Promise<void> {
    const { signal } = stop;
    let next: NextStep = { kind: "at-once" };
    let usedToken = "";
    while (!signal.aborted && next.kind !== "stop") {
      if (next.kind !== "at-once") {
        const retryInMs = this.#backoff.next(next.kind === "back-off" ? next.atLeastMs : 0);
        this.#enterState({ kind: "waiting", retryInMs });
        await pause(this.#options.clock, retryInMs, signal);
        if (signal.aborted) break;
      }
      this.#enterState({ kind: "connecting" });
      try {
        const { tokens } = this.#options;
        usedToken = await (next.kind === "refresh" ? tokens.refresh(usedToken) : tokens.access());
        next = await this.#runSession(usedToken, signal);
      } catch (error) {
        next = afterFailure(LuckyError.from(error));
      }
    }
    if (this.#stop === stop) this.#stop = undefined;
    const reason = next.kind === "stop" ? next.reason : (signal.reason as ClosedReason);
    this.#enterState({ kind: "closed", reason });
  }

  /** One session, from the look-up of the endpoint to its end. */
  async #runSession(accessToken: string, signal: AbortSignal): Promise<NextStep> {
    const { clock, webSocket, clientVersion } = this.#options;
    const url = await this.#options.endpoint(signal);
    if (signal.aborted) return { kind: "at-once" };
    let move: Timer | undefined;
    let moved = false;
    const connection = new Connection({
      url,
      accessToken,
      clock,
      webSocket,
      clientVersion,
      welcome: (welcome) => {
        this.#enterState({ kind: "open" });
        this.#options.opened(welcome);
        this.#planRenewal();
      },
      frame: (frame) => {
        if (frame.case !== "move") return this.#options.frame(frame);
        move ??= clock.after(Number(frame.value.afterMs), () => {
          moved = true;
          connection.close();
        });
      },
    });
    const close = () => void connection.close();
    signal.addEventListener("abort", close);
    this.#connection = connection;
    const ended = await connection.ended;
    this.#connection = undefined;
    signal.removeEventListener("abort", close);
    move?.stop();
    this.#renewal?.stop();
    if (ended.openedAtMs !== undefined) {
      if (clock.now() - ended.openedAtMs >= STABLE_SESSION_MS) this.#backoff.reset();
      this.#options.lost();
    }
    return moved ? { kind: "at-once" } : afterClose(ended.code);
  }

  /** The keeper exchanges the token in time and calls `renew`. */
  #planRenewal(): void {
    const { clock, tokens } = this.#options;
    const plan = (inMs: number) => {
      this.#renewal?.stop();
      this.#renewal = clock.after(Math.min(inMs, MAX_TIMER_MS), () => {
        if (tokens.exchangeInMs > 0) return this.#planRenewal();
        tokens.access().catch(() => {
          if (this.#state.kind === "open") plan(RENEWAL_RETRY_MS);
        });
      });
    };
    plan(tokens.exchangeInMs);
  }

  #enterState(state: SessionState): void {
    this.#state = state;
    this.#options.state(state);
  }
}
