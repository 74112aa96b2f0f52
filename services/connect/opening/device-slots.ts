import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Log } from "#platform/log.ts";
import type { Claim, ClaimResult, Lease } from "#platform/registry/registry.ts";
import { kicksEnvelope } from "../socket/envelope.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { DeviceRules } from "./device-rules.ts";

export interface DeviceSlotsOptions {
  instanceId: string;
  rules: Pick<DeviceRules, "of">;
  lease: () => Lease;
  bus: Bus;
  sessions: Sessions;
  clock: Clock;
  log: Log;
}

const PUBLISH_TIMEOUT_MS = 5_000;
/** Maximum attempts of a kick. The back-off after attempt n is n × KICK_BACKOFF_MS. */
const KICK_ATTEMPTS = 5;
const KICK_BACKOFF_MS = 1_000;
/** Maximum claims in flight while all sessions reclaim their slots. */
const RECLAIMS_IN_FLIGHT = 50;

/** Device slots of sessions, kept in the registry: they bound a user's devices per device class. */
export interface DeviceSlots {
  /**
   * Claims a slot for the session. Ends the sessions that lost their slots, or this session when
   * the rule refuses it. Rejects with UNAVAILABLE.
   */
  claim(session: Session, caller: UserCaller): Promise<void>;
  /** Releases the session's slot, also when its claim is still in flight. Never rejects. */
  release(session: Session): Promise<void>;
  /**
   * Renews the claims of all sessions after the registry lost them, the oldest session first.
   */
  reclaim(): Promise<void>;
}

export function createDeviceSlots(options: DeviceSlotsOptions): DeviceSlots {
  return {
    claim: (session, caller) => claimSlot(options, session, caller),
    release: (session) => releaseSlot(options, session),
    reclaim: () => reclaimSlots(options),
  };
}

async function claimSlot(
  options: DeviceSlotsOptions,
  session: Session,
  { userId, deviceId, deviceClass }: UserCaller,
): Promise<void> {
  const { instanceId } = options;
  const claim = { sessionId: session.id, userId, deviceId, deviceClass, instanceId };
  const answer = requestClaim(options, claim);
  session.claim = claim;
  session.claiming = answer;
  try {
    applyAnswer(options, session, await answer);
  } finally {
    session.claiming = undefined;
  }
}

async function releaseSlot(options: DeviceSlotsOptions, session: Session): Promise<void> {
  const { claim, claiming } = session;
  if (!claim) return;
  await claiming?.catch(nothing);
  try {
    await options.lease().unclaim(claim);
  } catch (error) {
    // The slot stays taken until the lease ends or a newer session of the user displaces it.
    options.log.warn({ event: "unclaim_failed", sessionId: session.id, err: error });
  }
}

async function reclaimSlots(options: DeviceSlotsOptions): Promise<void> {
  const { lease, log, sessions } = options;
  const claimed = [...sessions.all()].filter(({ claim }) => claim);
  for (let at = 0; at < claimed.length; at += RECLAIMS_IN_FLIGHT) {
    const answers = await Promise.allSettled(
      claimed.slice(at, at + RECLAIMS_IN_FLIGHT).map(async (session) => {
        const claim = session.claim!;
        applyAnswer(options, session, await requestClaim(options, claim));
        if (session.state.kind === "closed") await lease().unclaim(claim);
      }),
    );
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed) log.warn({ event: "reclaim_failed", err: failed.reason });
  }
}

async function requestClaim(
  { lease, rules }: DeviceSlotsOptions,
  claim: Claim,
): Promise<ClaimResult> {
  return lease().claim(claim, await rules.of(claim.deviceClass));
}

function applyAnswer(
  options: DeviceSlotsOptions,
  session: Session,
  { refused, displaced }: ClaimResult,
): void {
  endDisplaced(options, displaced);
  if (!refused) return;
  const text = "the limit of online devices of this class is reached";
  session.end(CloseCode.DEVICE_LIMIT_REACHED, text);
}

/** Ends sessions that lost their slots; sessions on other instances by a kick over the bus. */
function endDisplaced(options: DeviceSlotsOptions, displaced: readonly Claim[]): void {
  const { instanceId, sessions } = options;
  const remote = new Map<string, string[]>();
  for (const claim of displaced) {
    if (claim.instanceId === instanceId) {
      const text = "another device or session took the device slot";
      sessions.get(claim.sessionId)?.end(CloseCode.REPLACED, text);
      continue;
    }
    const list = remote.get(claim.instanceId);
    if (list) list.push(claim.sessionId);
    else remote.set(claim.instanceId, [claim.sessionId]);
  }
  for (const [target, sessionIds] of remote) void kick(options, target, sessionIds);
}

async function kick(
  { bus, clock, log }: DeviceSlotsOptions,
  target: string,
  sessionIds: readonly string[],
): Promise<void> {
  const body = kicksEnvelope(sessionIds, CloseCode.REPLACED);
  for (let attempt = 1; attempt <= KICK_ATTEMPTS; attempt += 1) {
    try {
      // The publish also succeeds when the instance has no queue: it then has no sessions either.
      await bus.publish(target, body, AbortSignal.timeout(PUBLISH_TIMEOUT_MS));
      return;
    } catch (error) {
      log.warn({ event: "kick_failed", target, sessions: sessionIds.length, err: error });
    }
    await new Promise<void>((resolve) => clock.after(KICK_BACKOFF_MS * attempt, resolve));
  }
}

function nothing(): void {}
