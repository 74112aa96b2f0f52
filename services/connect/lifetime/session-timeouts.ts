import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { Sweep } from "../downlink/sweep.ts";
import type { LastSeen } from "../opening/last-seen.ts";
import { closeTextOf } from "../opening/session-opener.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import { requireSync } from "../subscriptions/missed-entries.ts";
import { TokenWatch } from "./token-expiry.ts";

export interface SessionTimeoutsOptions {
  sessions: Sessions;
  channels: Channels;
  sweep: Sweep;
  lastSeen: LastSeen;
  revocations: Pick<Revocations, "keyState">;
  clock: Clock;
  config: {
    readonly helloTimeoutMs: number;
    readonly heartbeatIntervalMs: number;
    readonly slowReaderTimeoutMs: number;
    readonly callTimeoutMs: number;
    readonly tokenExpiringMs: number;
  };
}

const INTERVAL_MS = 1_000;
const MISSED_HEARTBEATS = 2;
/** Calls that a Hello waits for, one after the other, at most. */
const CALLS_OF_HELLO = 3;

/** Ends sessions whose time is up: silent, slow, never introduced, or with an expired token. */
export class SessionTimeouts {
  readonly #options: SessionTimeoutsOptions;
  readonly #tokens: TokenWatch;
  #timer: Timer | undefined;
  #lookedAtMs: number;

  constructor(options: SessionTimeoutsOptions) {
    this.#options = options;
    this.#tokens = new TokenWatch(options);
    this.#lookedAtMs = options.clock.now();
  }

  start(): void {
    const { clock, sessions } = this.#options;
    this.#timer = clock.every(INTERVAL_MS, () => {
      const span = { fromMs: this.#lookedAtMs, toMs: clock.now() };
      this.#lookedAtMs = span.toMs;
      for (const session of sessions.all()) this.#look(session, span);
    });
  }

  close(): void {
    this.#timer?.stop();
  }

  /** A slow session has read something: serve it again if there is room. */
  drained(session: Session): void {
    const { channels, sweep } = this.#options;
    if (session.slowSinceMs === undefined || !session.hasRoom()) return;
    const sinceMs = session.slowSinceMs;
    session.slowSinceMs = undefined;
    if (requireSync(session, channels)) sweep.sweepFrom(sinceMs);
  }

  #look(session: Session, span: { readonly fromMs: number; readonly toMs: number }): void {
    const { config, lastSeen } = this.#options;
    const nowMs = span.toMs;
    const { state } = session;
    switch (state.kind) {
      case "greeting":
        if (nowMs - session.openedAtMs >= config.helloTimeoutMs) {
          session.end(CloseCode.HELLO_TIMEOUT, "no Hello in time");
        }
        return;
      case "opening":
        if (
          nowMs - session.openedAtMs >=
          config.helloTimeoutMs + CALLS_OF_HELLO * config.callTimeoutMs
        ) {
          session.end(CloseCode.UNAVAILABLE, closeTextOf(CloseCode.UNAVAILABLE));
        }
        return;
      case "open":
        this.drained(session);
        if (!this.#tokens.look(session, state.caller, nowMs)) return;
        lastSeen.recordIfDue(session, state.caller.loginId, span);
        if (nowMs - session.lastFrameAtMs > MISSED_HEARTBEATS * config.heartbeatIntervalMs) {
          session.end(CloseCode.HEARTBEAT_TIMEOUT, "nothing was heard for two heartbeats");
        } else if (
          session.slowSinceMs !== undefined &&
          nowMs - session.slowSinceMs > config.slowReaderTimeoutMs
        ) {
          session.end(CloseCode.UNAVAILABLE, "the device reads too slowly");
        }
        return;
      case "closed":
        return;
    }
  }
}
