import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
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

/** Maximum calls in flight while many slots are claimed again or freed. */
const CALLS_IN_FLIGHT = 50;
/** Back-off before the retry of failed calls. */
const RETRY_MS = 1_000;

/** Device slots of sessions, kept in the registry: they bound a user's devices per device class. */
export interface DeviceSlots {
  /**
   * Claims a slot for the session. Ends the sessions that lost their slots, or this session when
   * the rule refuses it. Rejects with UNAVAILABLE.
   */
  claim(session: Session, caller: UserCaller): Promise<void>;
  /**
   * Releases the session's slot, also when its claim is still in flight. Retries until the registry
   * answers: a slot that stays taken could keep the user's next device out. Never rejects.
   */
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
  const releases = new Releases(options);
  return {
    claim: (session, caller) => claimSlot(options, session, caller),
    async release({ claim, claiming }) {
      if (!claim) return;
      await claiming?.catch(() => {});
      await releases.release(claim);
    },
    reclaim() {
      const round = ++rounds;
      const claimed = [...options.sessions.all()].filter(({ claim }) => claim);
      return reclaimSlots(options, claimed, () => round === rounds);
    },
    close() {
      rounds++;
      releases.close();
    },
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

/** Releases slots, with retries. */
class Releases {
  readonly #options: DeviceSlotsOptions;
  /** Slots of sessions that ended while the registry did not answer. */
  readonly #failed = new Set<Claim>();
  #timer: Timer | undefined;

  constructor(options: DeviceSlotsOptions) {
    this.#options = options;
  }

  async release(claim: Claim): Promise<void> {
    const { clock, lease, log } = this.#options;
    try {
      await lease().unclaim(claim);
      this.#failed.delete(claim);
    } catch (error) {
      log.warn({ event: "unclaim_failed", sessionId: claim.sessionId, err: error });
      this.#failed.add(claim);
      this.#timer ??= clock.after(RETRY_MS, () => void this.#retry());
    }
  }

  close(): void {
    this.#timer?.stop();
  }

  async #retry(): Promise<void> {
    const claims = [...this.#failed];
    for (let at = 0; at < claims.length; at += CALLS_IN_FLIGHT) {
      const batch = claims.slice(at, at + CALLS_IN_FLIGHT);
      this.#timer = undefined;
      await Promise.all(batch.map((claim) => this.release(claim)));
      // A failed call has started the timer: the rest follows with it.
      if (this.#timer !== undefined) return;
    }
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
  for (let at = 0; at < claimed.length; at += CALLS_IN_FLIGHT) {
    const batch = claimed.slice(at, at + CALLS_IN_FLIGHT);
    const answers = await Promise.allSettled(batch.map((session) => reclaim(options, session)));
    for (const [i, answer] of answers.entries()) {
      if (answer.status === "fulfilled") continue;
      failed.push(batch[i]!);
      cause = answer.reason;
    }
  }
  if (failed.length === 0 || !isCurrent()) return;
  log.warn({ event: "reclaim_failed", sessions: failed.length, err: cause });
  clock.after(RETRY_MS, () => {
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
