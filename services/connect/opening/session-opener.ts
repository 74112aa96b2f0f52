import { create } from "@bufbuild/protobuf";
import { CloseCode, type Hello, type Limits, LimitsSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { reasonOf } from "#platform/errors.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { DEVICE_KINDS, MAX_CONTENT_BYTES } from "#platform/validation/device-content.ts";
import { closeCodeOf, closeTextOf } from "../socket/close-codes.ts";
import { declinedFrames, FEATURES } from "../socket/features.ts";
import type { FrameBudgets } from "../socket/frame-budgets.ts";
import { MAX_SERVER_FRAME_BYTES, welcomeFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";
import { requireSync } from "../subscriptions/missed-entries.ts";
import { ClientCounts, labelsOf, PROTOCOL_REVISION } from "./client-counts.ts";
import { type ClientRulesConfig, createClientRules } from "./client-rules.ts";
import type { DeviceSlots } from "./device-slots.ts";
import type { LastSeen } from "./last-seen.ts";

export interface SessionOpenerOptions {
  verifier: TokenVerifier;
  revocations: Revocations;
  slots: DeviceSlots;
  channels: Channels;
  memberships: Memberships;
  sessions: Sessions;
  frameBudgets: FrameBudgets;
  lastSeen: LastSeen;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: ClientRulesConfig & {
    readonly heartbeatIntervalMs: number;
    readonly maxFrameBytes: number;
    readonly maxSendsInFlight: number;
    readonly callsInFlight: number;
    readonly framesPerSecond: number;
    readonly framesBurst: number;
  };
}

/** Opens and renews sessions, and releases what a closed session held. */
export interface SessionOpener {
  /**
   * Opens a session: verifies the token, claims a device slot, joins the channels and then sends
   * Welcome. A delivery that arrives during these steps is recorded as missed. Never rejects: an
   * error closes the session. When the session closes during these steps, `closed` cleans up.
   */
  hello(session: Session, hello: Hello): Promise<void>;
  /**
   * Verifies a new token for an open session. Never rejects: a refused token closes the session.
   */
  renew(session: Session, accessToken: string): Promise<void>;
  /** Releases the session's channels and device slot. Call it once, when the socket has closed. */
  closed(session: Session, caller: UserCaller | undefined): void;
}

/** The options, and what all sessions share. */
interface Parts extends SessionOpenerOptions {
  readonly checkHello: ReturnType<typeof createClientRules>;
  readonly counts: ClientCounts;
}

export function createSessionOpener(options: SessionOpenerOptions): SessionOpener {
  const parts: Parts = {
    ...options,
    checkHello: createClientRules(options.config),
    counts: new ClientCounts(options.metrics),
  };
  return {
    hello: (session, hello) => open(parts, session, hello),
    renew: (session, accessToken) => renew(options, session, accessToken),
    closed: (session, caller) => release(parts, session, caller),
  };
}

function limitsOf(config: SessionOpenerOptions["config"]): Limits {
  return create(LimitsSchema, {
    maxClientFrameBytes: config.maxFrameBytes,
    maxServerFrameBytes: MAX_SERVER_FRAME_BYTES,
    maxSendsInFlight: config.maxSendsInFlight,
    maxCallsInFlight: config.callsInFlight,
    maxCursors: maxItems(AcknowledgeRequestSchema.field.cursors),
    maxContentBytes: MAX_CONTENT_BYTES,
    framesPerSecond: config.framesPerSecond,
    framesBurst: config.framesBurst,
  });
}

async function open(parts: Parts, session: Session, hello: Hello): Promise<void> {
  const { channels, clock, frameBudgets, log, memberships, slots, verifier } = parts;
  session.transition({ kind: "opening", caller: undefined });
  try {
    const refused = parts.checkHello(hello);
    if (refused) return session.end(refused.code, refused.text, refused.notice);
    // Before the first subscription: channels list the sessions that declined frames.
    session.declined = declinedFrames(hello.features);
    const caller = await verifier.verify(hello.accessToken);
    if (session.state.kind !== "opening") return;
    session.transition({ kind: "opening", caller });
    session.frames = frameBudgets.join(caller.userId, session.frames, clock.elapsed());
    addLogin(parts, session, caller);
    if (session.state.kind !== "opening") return;
    const channel = userChannel(caller.userId);
    channels.subscribe(session, channel);
    await Promise.all([slots.claim(session, caller), channels.join([channel])]);
    if (session.state.kind !== "opening") return;
    // Look up the groups after the join: a membership change that the look-up misses arrives on the
    // user's channel.
    await memberships.open(session, caller.userId);
    if (session.state.kind !== "opening") return;
    welcome(parts, session, { caller, hello });
  } catch (error) {
    if (session.state.kind !== "opening") return;
    const code = closeCodeOf(reasonOf(error));
    if (code === CloseCode.UNAVAILABLE) {
      log.warn({ event: "hello_failed", sessionId: session.id, err: error });
    }
    session.end(code, closeTextOf(code));
  }
}

function welcome(
  { channels, clock, config, counts, lastSeen }: Parts,
  session: Session,
  { caller, hello }: { caller: UserCaller; hello: Hello },
): void {
  admit(session, caller, clock);
  session.client = labelsOf(hello);
  counts.opened(session.client);
  lastSeen.record(caller.loginId);
  session.sendRequired(
    welcomeFrame({
      sessionId: session.id,
      userId: caller.userId,
      deviceId: caller.deviceId,
      heartbeatIntervalMs: BigInt(config.heartbeatIntervalMs),
      serverTimeMs: BigInt(clock.now()),
      limits: limitsOf(config),
      protocolRevision: PROTOCOL_REVISION,
      contentKinds: [...DEVICE_KINDS],
      features: [...FEATURES],
    }),
  );
  for (const groupId of session.cursors.groups()) {
    session.socket.subscribe(groupChannel(groupId));
  }
  // While the session was opening, deliveries to its channels were not sent to it.
  session.missedGroupEntries = true;
  requireSync(session, channels);
}

async function renew(
  options: SessionOpenerOptions,
  session: Session,
  accessToken: string,
): Promise<void> {
  const { clock, sessions, verifier, log } = options;
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
    admit(session, caller, clock);
    addLogin(options, session, caller);
  } catch (error) {
    const code = closeCodeOf(reasonOf(error));
    // The token cannot be verified now. The session keeps its old token until that expires.
    if (code === CloseCode.UNAVAILABLE) log.warn({ event: "renew_failed", err: error });
    else session.end(code, closeTextOf(code));
  }
}

/** Opens the session, or continues it, with a token that was just verified. */
function admit(session: Session, caller: UserCaller, clock: Clock): void {
  session.transition({ kind: "open", caller });
  session.tokenEndsAtMs = clock.elapsed() + caller.expiresAtMs - clock.now();
}

function release(
  { channels, clock, counts, frameBudgets, lastSeen, sessions, slots }: Parts,
  session: Session,
  caller: UserCaller | undefined,
): void {
  if (session.client) counts.closed(session.client);
  if (caller) {
    lastSeen.record(caller.loginId);
    frameBudgets.leave(caller.userId, clock.elapsed());
    sessions.removeLogin(caller.loginId, session);
    channels.unsubscribe(session, userChannel(caller.userId));
  }
  for (const groupId of session.cursors.groups()) {
    channels.unsubscribe(session, groupChannel(groupId));
  }
  void slots.release(session);
}

/** Indexes the session under its login. Ends it when the login is already revoked. */
function addLogin(
  { revocations, sessions }: SessionOpenerOptions,
  session: Session,
  caller: UserCaller,
): void {
  sessions.addLogin(caller.loginId, session);
  if (revocations.revoked(caller.loginId)) {
    session.end(CloseCode.TOKEN_REVOKED, closeTextOf(CloseCode.TOKEN_REVOKED));
  }
}
