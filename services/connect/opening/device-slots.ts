import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Log } from "#platform/log.ts";
import type { Claim, ClaimResult, Lease } from "#platform/registry/registry.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { DeviceRules } from "./device-rules.ts";
import type { Kicks } from "./kicks.ts";

export interface DeviceSlotsOptions {
  instanceId: string;
  rules: Pick<DeviceRules, "of">;
  lease: () => Lease;
  kicks: Pick<Kicks, "send">;
  sessions: Sessions;
  clock: Clock;
  log: Log;
}

/** Maximum claims in flight while all sessions reclaim their slots. */
const RECLAIMS_IN_FLIGHT = 50;
/** Back-off before the retry of failed reclaims. */
const RECLAIM_RETRY_MS = 1_000;

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
   * Renews the claims of all sessions after the registry or a kick may have been lost, the oldest
   * session first. A session whose slot was taken meanwhile ends. Resolves after the first attempt;
   * failed claims are retried until the next `reclaim`. Never rejects.
   */
  reclaim(): Promise<void>;
  /** Stops the retries. */
  close(): void;
}

export function createDeviceSlots(options: DeviceSlotsOptions): DeviceSlots {
  let rounds = 0;
  return {
    claim: (session, caller) => claimSlot(options, session, caller),
    release: (session) => releaseSlot(options, session),
    reclaim() {
      const round = ++rounds;
      const claimed = [...options.sessions.all()].filter(({ claim }) => claim);
      return reclaimSlots(options, claimed, () => round === rounds);
    },
    close: () => void rounds++,
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
  await claiming?.catch(() => {});
  try {
    await options.lease().unclaim(claim);
  } catch (error) {
    // The slot stays taken until the lease ends or a newer session of the user displaces it.
    options.log.warn({ event: "unclaim_failed", sessionId: session.id, err: error });
  }
}

async function reclaimSlots(
  options: DeviceSlotsOptions,
  claimed: readonly Session[],
  isCurrent: () => boolean,
): Promise<void> {
  const { clock, log } = options;
  const failed: Session[] = [];
  let cause: unknown;
  for (let at = 0; at < claimed.length; at += RECLAIMS_IN_FLIGHT) {
    const batch = claimed.slice(at, at + RECLAIMS_IN_FLIGHT);
    const answers = await Promise.allSettled(batch.map((session) => reclaim(options, session)));
    for (const [i, answer] of answers.entries()) {
      if (answer.status === "fulfilled") continue;
      failed.push(batch[i]!);
      cause = answer.reason;
    }
  }
  if (failed.length === 0 || !isCurrent()) return;
  log.warn({ event: "reclaim_failed", sessions: failed.length, err: cause });
  clock.after(RECLAIM_RETRY_MS, () => {
    const open = failed.filter(({ state }) => state.kind !== "closed");
    if (isCurrent()) void reclaimSlots(options, open, isCurrent);
  });
}

async function reclaim(options: DeviceSlotsOptions, session: Session): Promise<void> {
  const claim = session.claim!;
  applyAnswer(options, session, await requestClaim(options, claim));
  if (session.state.kind === "closed") await options.lease().unclaim(claim);
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
  const { instanceId, kicks, sessions } = options;
  for (const claim of displaced) {
    if (claim.instanceId !== instanceId) {
      kicks.send(claim.instanceId, [claim.sessionId]);
      continue;
    }
    const text = "another device or session took the device slot";
    sessions.get(claim.sessionId)?.end(CloseCode.REPLACED, text);
  }
}
