import { CloseCode, type Kick, type Welcome } from "../../gen/lucky/frame/v1/frame_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause, type Timer } from "../clock.ts";
import { LuckyError } from "../error.ts";
import type { TokenKeeper } from "../rpc/tokens.ts";
import type { TraceOptions } from "../trace-options.ts";
import {
  ABNORMAL_CLOSURE,
  type ClientFrameKind,
  Connection,
  type ServerFrameKind,
} from "./connection.ts";
import type { Program } from "./hello.ts";
import { afterClose, afterFailure, type ClosedReason, type NextStep } from "./next-step.ts";
import { QuickRestarts } from "./quick-restarts.ts";

/** Delay before a failed token refresh is retried, ms. */
const RENEWAL_RETRY_MS = 5_000;
/** Longest delay of one timer, ms: setTimeout overflows at 2^31 ms. */
const MAX_TIMER_MS = 86_400_000;

/** State of a session: "waiting" is the back-off before a reconnect. */
export type SessionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "open" }
  | { readonly kind: "waiting"; readonly retryInMs: number }
  | { readonly kind: "closed"; readonly reason: ClosedReason };

/** The server requires a newer client. */
export interface ClientTooOld {
  /** The operator's text for the user; may be empty. */
  readonly text: string;
  /** Address of a newer client; empty when the operator has set none. */
  readonly upgradeUrl: string;
}

export interface ReconnectingSessionOptions {
  readonly clock: Clock;
  readonly webSocket: typeof WebSocket;
  readonly program: Program;
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
  /** Called when the server requires a newer client, before the session is closed for good. */
  readonly tooOld?: (info: ClientTooOld) => void;
  /** Random numbers from 0 to below 1, for the back-off. */
  readonly random?: () => number;
}

/** Keeps one session open: connects, and reconnects with back-off unless the end was permanent. */
export class ReconnectingSession {
  readonly #options: ReconnectingSessionOptions;
  readonly #backoff: Backoff;
  readonly #restarts: QuickRestarts;
  #state: SessionState = { kind: "closed", reason: "by-caller" };
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #connection: Connection | undefined;
  #renewal: Timer | undefined;

  constructor(options: ReconnectingSessionOptions) {
    this.#options = options;
    const { random } = options;
    this.#backoff = new Backoff({ firstMs: 500, longestMs: 30_000, ...(random && { random }) });
    this.#restarts = new QuickRestarts(this.#backoff);
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
  send(kind: ClientFrameKind, trace?: TraceOptions): boolean {
    return this.#state.kind === "open" && (this.#connection?.send(kind, trace) ?? false);
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
        const atLeastMs = next.kind === "back-off" ? next.atLeastMs : 0;
        const retryInMs = next.extraMs + this.#backoff.next(atLeastMs);
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
    const { clock, webSocket, program } = this.#options;
    const url = await this.#options.endpoint(signal);
    if (signal.aborted) return { kind: "at-once" };
    let move: Timer | undefined;
    let moved = false;
    let kick: Kick | undefined;
    const connection = new Connection({
      url,
      accessToken,
      clock,
      webSocket,
      program,
      welcome: (welcome) => {
        this.#enterState({ kind: "open" });
        this.#options.opened(welcome);
        this.#scheduleRenewal();
      },
      frame: (frame) => {
        if (frame.case === "kick") kick = frame.value;
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
    // A Kick names the code, also when the connection is lost before the close arrives.
    const code = ended.code === ABNORMAL_CLOSURE && kick ? kick.code : ended.code;
    if (ended.openedAtMs !== undefined) {
      this.#restarts.ended(code, clock.elapsed() - ended.openedAtMs);
      this.#options.lost();
    }
    if (code === CloseCode.CLIENT_TOO_OLD) {
      const { text = ended.text, upgradeUrl = "" } = kick ?? {};
      this.#options.tooOld?.({ text, upgradeUrl });
    }
    return moved ? { kind: "at-once" } : afterClose(code, kick);
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
