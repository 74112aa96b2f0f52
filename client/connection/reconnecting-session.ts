import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, type Welcome } from "../../gen/lucky/frame/v1/frame_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause, type Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { TokenKeeper } from "../rpc/tokens.ts";
import { type ClientFrameKind, Connection, type ServerFrameKind } from "./connection.ts";

/** A session that lasted this long (ms) resets the back-off: the next reconnect is quick. */
const STABLE_SESSION_MS = 10_000;
/** Shortest back-off after a server closed with RATE_LIMITED or UNAVAILABLE, ms. */
const BUSY_BACKOFF_MS = 1_000;
/** Delay before a failed token refresh is retried, ms. */
const RENEWAL_RETRY_MS = 5_000;
/** Longest delay of one timer, ms: setTimeout overflows at 2^31 ms. */
const MAX_TIMER_MS = 86_400_000;

/**
 * Reason of a permanent close. "by-caller": the caller closed it. "login-over": log in again.
 * "replaced": another session replaced it, and the user decides which one continues.
 * "device-limit": the maximum number of devices of its class is online, and none is replaced.
 */
export type ClosedReason = "by-caller" | "login-over" | "replaced" | "device-limit";

/** The error for callers of a closed session. */
export function closedError(reason: ClosedReason): LuckyError {
  switch (reason) {
    case "by-caller":
      return new LuckyError(ErrorReason.UNAVAILABLE, "the client is closed");
    case "replaced":
      return new LuckyError(ErrorReason.UNAVAILABLE, "another session replaced this one");
    case "login-over":
      return new LuckyError(ErrorReason.TOKEN_REVOKED, "the login is over: log in again");
    case "device-limit":
      return new LuckyError(
        ErrorReason.DEVICE_LIMIT_REACHED,
        "the maximum number of devices of this class is online",
      );
  }
}

/** State of a session: "waiting" is the back-off before a reconnect. */
export type SessionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "open" }
  | { readonly kind: "waiting"; readonly retryInMs: number }
  | { readonly kind: "closed"; readonly reason: ClosedReason };

/** The next step after a session ended or failed to open. */
export type NextStep =
  | { readonly kind: "at-once" }
  | { readonly kind: "back-off"; readonly atLeastMs: number }
  /** After a back-off, with a refreshed access token. */
  | { readonly kind: "refresh" }
  | { readonly kind: "stop"; readonly reason: ClosedReason };

/** The next step after a session closed with the code. */
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

export interface ReconnectingSessionOptions {
  readonly clock: Clock;
  readonly webSocket: typeof WebSocket;
  readonly clientVersion: string;
  readonly tokens: TokenKeeper;
  /** URL of the WebSocket to open. Rejects with a LuckyError. */
  readonly endpoint: (signal: AbortSignal) => Promise<string>;
  readonly state: (state: SessionState) => void;
  /** Called when a session is open. */
  readonly opened: (welcome: Welcome) => void;
  /** Called with each frame of the open session. */
  readonly frame: (frame: ServerFrameKind) => void;
  /** Called when the open session has ended. */
  readonly lost: () => void;
}

/** The next step after a failure before the session was open. */
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

/** Keeps one session open: connects, and reconnects with back-off unless the end was permanent. */
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

  /** Starts to connect; does nothing when already started. */
  start(): void {
    if (this.#stop && !this.#stop.signal.aborted) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#running = this.#running.then(() => this.#run(stop));
  }

  /** Closes the session until the next `start`. Resolves when the socket is closed. */
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

  /** Drops the current session and reconnects. */
  reconnect(text: string): void {
    this.#connection?.drop(text);
  }

  /** Continues the open session with a fresh access token. */
  renew(accessToken: string): void {
    if (this.send({ case: "renew", value: { accessToken } })) this.#scheduleRenewal();
  }

  /** Handles the server's notice that the session's token expires soon: refreshes it now. */
  tokenExpiring(expiresAtMs: number): void {
    const { tokens } = this.#options;
    const { current } = tokens;
    if (!current) return;
    // The token was refreshed already, but not sent to the server yet.
    if (Number(current.accessTokenExpiresAtMs) > expiresAtMs) this.renew(current.accessToken);
    // A failure is retried by the timer of #scheduleRenewal.
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

  /** Runs one session, from the look-up of the endpoint to its end. */
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
        this.#scheduleRenewal();
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
      if (clock.elapsed() - ended.openedAtMs >= STABLE_SESSION_MS) this.#backoff.reset();
      this.#options.lost();
    }
    return moved ? { kind: "at-once" } : afterClose(ended.code);
  }

  /**
   * Refreshes the token shortly before it expires, with retries; the TokenKeeper then calls
   * `renew`.
   */
  #scheduleRenewal(): void {
    const { clock, tokens } = this.#options;
    const schedule = (inMs: number) => {
      this.#renewal?.stop();
      this.#renewal = clock.after(Math.min(inMs, MAX_TIMER_MS), () => {
        if (tokens.exchangeInMs > 0) return this.#scheduleRenewal();
        tokens.access().catch(() => {
          if (this.#state.kind === "open") schedule(RENEWAL_RETRY_MS);
        });
      });
    };
    schedule(tokens.exchangeInMs);
  }

  #enterState(state: SessionState): void {
    this.#state = state;
    this.#options.state(state);
  }
}
