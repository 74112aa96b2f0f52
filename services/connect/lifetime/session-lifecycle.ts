import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { FULL_LOAD } from "#platform/registry/registry.ts";
import type { SessionOpener } from "../opening/session-opener.ts";
import { closeTextOf } from "../socket/close-codes.ts";
import { Session, type SessionOptions } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Socket } from "../socket/socket.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Acknowledgements } from "../uplink/acknowledgements.ts";
import type { Registration } from "./registration.ts";

export interface SessionLifecycleOptions {
  sessions: Sessions;
  opener: Pick<SessionOpener, "closed">;
  channels: Pick<Channels, "get">;
  acknowledgements: Pick<Acknowledgements, "userLeft">;
  registration: Pick<Registration, "update">;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: Omit<SessionOptions, "socket" | "nowMs"> & { readonly maxSessions: number };
}

/** Creates a session for every socket, and accounts for its end: metrics, log, registry. */
export class SessionLifecycle {
  readonly #options: SessionLifecycleOptions;
  readonly #open: { set(value: number): void };
  readonly #ends: { inc(labels: { code: string }): void };

  constructor(options: SessionLifecycleOptions) {
    const { metrics } = options;
    this.#options = options;
    this.#open = metrics.gauge("lucky_sessions", "Open sockets on this instance.");
    this.#ends = metrics.counter("lucky_session_end_total", "Ended sessions, by close code.", [
      "code",
    ]);
  }

  /** Creates the session of a new socket. */
  accept(socket: Socket): Session {
    const { clock, config, sessions } = this.#options;
    const session = new Session({ ...config, socket, nowMs: clock.elapsed() });
    sessions.add(session);
    this.#updateCount();
    return session;
  }

  /** The session's socket has closed; `code` is the WebSocket's close code. */
  closed(session: Session, code: number): void {
    const { acknowledgements, channels, clock, log, opener, sessions } = this.#options;
    const { caller } = session;
    const end = session.endReason(code);
    session.transition({ kind: "closed", end });
    sessions.remove(session);
    opener.closed(session, caller);
    if (caller && !channels.get(userChannel(caller.userId))) {
      acknowledgements.userLeft(caller.userId);
    }
    this.#updateCount();
    this.#ends.inc({ code: CloseCode[end.code] ? String(end.code) : "device" });
    log.info({
      event: "session_end",
      sessionId: session.id,
      userId: caller?.userId,
      deviceId: caller?.deviceId,
      peer: session.socket.peer,
      code: end.code,
      reason: end.text,
      durationMs: Math.round(clock.elapsed() - session.openedAtMs),
    });
  }

  /** Ends the sessions of a revoked login. */
  revoked(loginId: string): void {
    for (const session of this.#options.sessions.ofLogin(loginId)) {
      session.end(CloseCode.TOKEN_REVOKED, closeTextOf(CloseCode.TOKEN_REVOKED));
    }
  }

  #updateCount(): void {
    const { config, registration, sessions } = this.#options;
    this.#open.set(sessions.size);
    registration.update(sessions.size < config.maxSessions ? sessions.size : FULL_LOAD);
  }
}
