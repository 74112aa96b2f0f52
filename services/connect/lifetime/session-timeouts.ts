import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { Sweep } from "../downlink/sweep.ts";
import type { LastSeen } from "../opening/last-seen.ts";
import { closeTextOf } from "../socket/close-codes.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import { requireSync } from "../subscriptions/missed-entries.ts";
import { checkToken, type TokenCheck } from "./token-expiry.ts";

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
/** Heartbeats that a device may miss before its session times out. */
const MISSED_HEARTBEATS = 2;
/**
 * A pong keeps a session for this long after the last frame, ms. Browsers run the timers of a hidden tab
 * once a minute, so its heartbeats are late, but they answer pings at once.
 */
const MAX_PONGS_ONLY_MS = 180_000;
/** Number of sequential calls that the opening of a session may wait for. */
const CALLS_PER_HELLO = 3;

/** Parameters of one round of checks, shared by all sessions. */
interface Round extends TokenCheck {
  /** Time of the previous round, elapsed ms. */
  readonly fromMs: number;
}

/**
 * Ends sessions that time out: no Hello, no heartbeat, too slow a reader, or an expired token.
 * Checks every session once a second.
 */
export class SessionTimeouts {
  readonly #options: SessionTimeoutsOptions;
  #timer: Timer | undefined;
  #checkedAtMs: number;

  constructor(options: SessionTimeoutsOptions) {
    this.#options = options;
    this.#checkedAtMs = options.clock.elapsed();
  }

  start(): void {
    const { clock, config, revocations, sessions } = this.#options;
    this.#timer = clock.every(INTERVAL_MS, () => {
      const fromMs = this.#checkedAtMs;
      const nowMs = clock.elapsed();
      this.#checkedAtMs = nowMs;
      const noticeMs = config.tokenExpiringMs;
      const round = { fromMs, nowMs, dateMs: clock.now(), noticeMs, revocations };
      for (const session of sessions.all()) this.#check(session, round);
    });
  }

  close(): void {
    this.#timer?.stop();
  }

  /** A slow reader has read some bytes: resumes deliveries to it when its queue has room. */
  drained(session: Session): void {
    const { channels, sweep } = this.#options;
    if (session.slowSinceMs === undefined || !session.hasRoom()) return;
    const sinceMs = session.slowSinceMs;
    session.slowSinceMs = undefined;
    if (requireSync(session, channels)) sweep.sweepFrom(sinceMs);
  }

  /** Pings a device once when it was silent for an interval. */
  #pingIfSilent({ lastFrameAtMs, lastPongAtMs, socket }: Session, { fromMs, nowMs }: Round): void {
    const dueMs = Math.max(lastFrameAtMs, lastPongAtMs) + this.#options.config.heartbeatIntervalMs;
    if (nowMs > dueMs && fromMs <= dueMs) socket.ping();
  }

  #isGone({ lastFrameAtMs, lastPongAtMs }: Session, nowMs: number): boolean {
    const silenceMs = MISSED_HEARTBEATS * this.#options.config.heartbeatIntervalMs;
    if (nowMs - lastFrameAtMs <= silenceMs) return false;
    return nowMs - lastPongAtMs > silenceMs || nowMs - lastFrameAtMs > MAX_PONGS_ONLY_MS;
  }

  #check(session: Session, round: Round): void {
    const { config, lastSeen } = this.#options;
    const { nowMs } = round;
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
          config.helloTimeoutMs + CALLS_PER_HELLO * config.callTimeoutMs
        ) {
          session.end(CloseCode.UNAVAILABLE, closeTextOf(CloseCode.UNAVAILABLE));
        }
        return;
      case "open":
        this.drained(session);
        if (!checkToken(session, state.caller, round)) return;
        lastSeen.recordIfDue(session, state.caller.loginId, round);
        this.#pingIfSilent(session, round);
        if (this.#isGone(session, nowMs)) {
          session.end(CloseCode.HEARTBEAT_TIMEOUT, "no frame arrived for two heartbeats");
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
