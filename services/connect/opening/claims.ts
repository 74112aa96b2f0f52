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

export interface ClaimsOptions {
  instanceId: string;
  rules: Pick<DeviceRules, "of">;
  lease: () => Lease;
  bus: Bus;
  sessions: Sessions;
  clock: Clock;
  log: Log;
}

const PUBLISH_TIMEOUT_MS = 5_000;
const KICK_ATTEMPTS = 5;
const KICK_PAUSE_MS = 1_000;
/** Claims made again at once after the registry forgot us. */
const RECLAIMS_AT_ONCE = 50;

/** The places of sessions in the registry: at most so many devices of a class per user. */
export class Claims {
  readonly #options: ClaimsOptions;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /**
   * Claims a place and ends the sessions that lost theirs, or this one when none gives way. Rejects
   * with UNAVAILABLE.
   */
  async claim(session: Session, caller: UserCaller): Promise<void> {
    const { userId, deviceId, deviceClass } = caller;
    const { instanceId } = this.#options;
    const claim = { sessionId: session.id, userId, deviceId, deviceClass, instanceId };
    const answer = this.#ask(claim);
    session.claim = claim;
    session.claiming = answer;
    try {
      this.#settle(session, await answer);
    } finally {
      session.claiming = undefined;
    }
  }

  /** Gives the session's place up, also one that is only being claimed. Never rejects. */
  async release(session: Session): Promise<void> {
    const { claim, claiming } = session;
    if (!claim) return;
    await claiming?.catch(nothing);
    try {
      await this.#options.lease().unclaim(claim);
    } catch (error) {
      // The place is lost to the user until the lease ends or a newer session takes it.
      this.#options.log.warn({ event: "unclaim_failed", sessionId: session.id, err: error });
    }
  }

  /** The registry forgot us: every session claims its place again, the oldest first. */
  async reclaim(): Promise<void> {
    const { log, sessions } = this.#options;
    const all = [...sessions.all()].filter(({ claim }) => claim);
    for (let at = 0; at < all.length; at += RECLAIMS_AT_ONCE) {
      const some = all.slice(at, at + RECLAIMS_AT_ONCE);
      const answers = await Promise.allSettled(
        some.map(async (session) => {
          const claim = session.claim!;
          this.#settle(session, await this.#ask(claim));
          if (session.state.kind === "closed") await this.#options.lease().unclaim(claim);
        }),
      );
      const failed = answers.find((answer) => answer.status === "rejected");
      if (failed) log.warn({ event: "reclaim_failed", err: failed.reason });
    }
  }

  async #ask(claim: Claim): Promise<ClaimResult> {
    const { lease, rules } = this.#options;
    return lease().claim(claim, await rules.of(claim.deviceClass));
  }

  #settle(session: Session, { refused, displaced }: ClaimResult): void {
    this.#displace(displaced);
    if (!refused) return;
    const text = "as many devices of the class as allowed are online";
    session.end(CloseCode.DEVICE_LIMIT_REACHED, text);
  }

  #displace(losers: readonly Claim[]): void {
    const { instanceId, sessions } = this.#options;
    const remote = new Map<string, string[]>();
    for (const loser of losers) {
      if (loser.instanceId === instanceId) {
        const text = "another device or session took the place";
        sessions.get(loser.sessionId)?.end(CloseCode.REPLACED, text);
        continue;
      }
      const list = remote.get(loser.instanceId);
      if (list) list.push(loser.sessionId);
      else remote.set(loser.instanceId, [loser.sessionId]);
    }
    for (const [target, sessionIds] of remote) void this.#kick(target, sessionIds);
  }

  async #kick(target: string, sessionIds: readonly string[]): Promise<void> {
    const { bus, clock, log } = this.#options;
    const body = kicksEnvelope(sessionIds, CloseCode.REPLACED);
    for (let attempt = 1; attempt <= KICK_ATTEMPTS; attempt += 1) {
      try {
        // An instance without a queue has no sessions either.
        await bus.publish(target, body, AbortSignal.timeout(PUBLISH_TIMEOUT_MS));
        return;
      } catch (error) {
        log.warn({ event: "kick_failed", target, sessions: sessionIds.length, err: error });
      }
      await new Promise<void>((resolve) => clock.after(KICK_PAUSE_MS * attempt, resolve));
    }
  }
}

function nothing(): void {}
