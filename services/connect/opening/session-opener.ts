import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, type Hello } from "#gen/lucky/frame/v1/frame_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import { welcomeFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";
import { requireSync } from "../subscriptions/missed-entries.ts";
import type { DeviceSlots } from "./device-slots.ts";
import type { LastSeen } from "./last-seen.ts";

export interface SessionOpenerOptions {
  verifier: TokenVerifier;
  revocations: Revocations;
  slots: DeviceSlots;
  channels: Channels;
  memberships: Memberships;
  sessions: Sessions;
  lastSeen: LastSeen;
  clock: Clock;
  log: Log;
  config: {
    readonly heartbeatIntervalMs: number;
    readonly maxFrameBytes: number;
    readonly maxSendsInFlight: number;
    readonly framesPerSecond: number;
    readonly framesBurst: number;
  };
}

/** How a token is refused. */
export function closeCodeOf(reason: ErrorReason): CloseCode {
  switch (reason) {
    case ErrorReason.TOKEN_INVALID:
      return CloseCode.TOKEN_INVALID;
    case ErrorReason.TOKEN_EXPIRED:
      return CloseCode.TOKEN_EXPIRED;
    case ErrorReason.TOKEN_REVOKED:
      return CloseCode.TOKEN_REVOKED;
    default:
      return CloseCode.UNAVAILABLE;
  }
}

/** Opens and renews sessions. */
export class SessionOpener {
  readonly #options: SessionOpenerOptions;

  constructor(options: SessionOpenerOptions) {
    this.#options = options;
  }

  /**
   * Opens a session: verifies the token, claims the place, joins the channels and then says Welcome,
   * so that nothing is delivered in between without somebody noticing. Never rejects: what fails
   * closes the session. A session that closes meanwhile is cleaned up by `closed`.
   */
  async hello(session: Session, hello: Hello): Promise<void> {
    session.transition({ kind: "opening", caller: undefined });
    try {
      const caller = await this.#options.verifier.verify(hello.accessToken);
      if (session.state.kind !== "opening") return;
      session.transition({ kind: "opening", caller });
      await this.#open(session, caller);
    } catch (error) {
      if (session.state.kind !== "opening") return;
      const code = closeCodeOf(reasonOf(error));
      if (code === CloseCode.UNAVAILABLE) {
        this.#options.log.warn({ event: "hello_failed", sessionId: session.id, err: error });
      }
      session.end(code, closeTextOf(code));
    }
  }

  /** Takes a fresh token for an open session. Never rejects: a bad token closes the session. */
  async renew(session: Session, accessToken: string): Promise<void> {
    const { sessions, verifier, log } = this.#options;
    try {
      const caller = await verifier.verify(accessToken);
      const { state } = session;
      if (state.kind !== "open") return;
      const { userId, deviceId, deviceClass, loginId } = state.caller;
      const same =
        caller.userId === userId &&
        caller.deviceId === deviceId &&
        caller.deviceClass === deviceClass;
      if (!same) {
        session.end(CloseCode.TOKEN_INVALID, "the token is of another user or device");
        return;
      }
      sessions.removeLogin(loginId, session);
      session.transition({ kind: "open", caller });
      this.#addLogin(session, caller);
    } catch (error) {
      const code = closeCodeOf(reasonOf(error));
      // Nothing can be said of the token now; the old one is good until it expires.
      if (code === CloseCode.UNAVAILABLE) log.warn({ event: "renew_failed", err: error });
      else session.end(code, closeTextOf(code));
    }
  }

  /** Gives back what the session held. Call once, when its socket has closed. */
  closed(session: Session, caller: UserCaller | undefined): void {
    const { channels, slots, lastSeen, sessions } = this.#options;
    if (caller) {
      lastSeen.record(caller.loginId);
      sessions.removeLogin(caller.loginId, session);
      channels.unsubscribe(session, userChannel(caller.userId));
    }
    for (const groupId of session.cursors.groups()) {
      channels.unsubscribe(session, groupChannel(groupId));
    }
    void slots.release(session);
  }

  async #open(session: Session, caller: UserCaller): Promise<void> {
    const { channels, slots, memberships } = this.#options;
    const { userId } = caller;
    const channel = userChannel(userId);
    this.#addLogin(session, caller);
    if (session.state.kind !== "opening") return;
    channels.subscribe(session, channel);
    await Promise.all([slots.claim(session, caller), channels.join([channel])]);
    if (session.state.kind !== "opening") return;
    // After the join: a change of membership that this lacks arrives on the user's channel.
    await memberships.open(session, userId);
    if (session.state.kind !== "opening") return;
    this.#welcome(session, caller);
  }

  #welcome(session: Session, caller: UserCaller): void {
    const { channels, clock, config, lastSeen } = this.#options;
    session.transition({ kind: "open", caller });
    lastSeen.record(caller.loginId);
    session.sendRequired(
      welcomeFrame({
        sessionId: session.id,
        userId: caller.userId,
        deviceId: caller.deviceId,
        heartbeatIntervalMs: BigInt(config.heartbeatIntervalMs),
        serverTimeMs: BigInt(clock.now()),
        maxFrameBytes: config.maxFrameBytes,
        maxSendsInFlight: config.maxSendsInFlight,
        framesPerSecond: config.framesPerSecond,
        framesBurst: config.framesBurst,
      }),
    );
    for (const groupId of session.cursors.groups()) {
      session.socket.subscribe(groupChannel(groupId));
    }
    // What came for its channels while it was opening was not sent.
    session.missedGroupEntries = true;
    requireSync(session, channels);
  }

  #addLogin(session: Session, caller: UserCaller): void {
    const { revocations, sessions } = this.#options;
    sessions.addLogin(caller.loginId, session);
    if (revocations.revoked(caller.loginId)) {
      session.end(CloseCode.TOKEN_REVOKED, closeTextOf(CloseCode.TOKEN_REVOKED));
    }
  }
}

/** What a device is told; for developers. */
export function closeTextOf(code: CloseCode): string {
  switch (code) {
    case CloseCode.TOKEN_INVALID:
      return "the access token is not valid";
    case CloseCode.TOKEN_EXPIRED:
      return "the access token has expired";
    case CloseCode.TOKEN_REVOKED:
      return "the login was ended";
    default:
      return "a part of the server cannot be reached";
  }
}
