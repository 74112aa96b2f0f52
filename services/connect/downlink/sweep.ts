import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  SweepRequestSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";
import { lastSent } from "../subscriptions/missing.ts";

export interface SweepOptions {
  ingress: Pick<Client<typeof IngressService>, "sweep">;
  channels: Channels;
  memberships: Pick<Memberships, "check">;
  sessions: Sessions;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  config: {
    readonly sweepIntervalMs: number;
    readonly sweepGraceMs: number;
    readonly callTimeoutMs: number;
  };
}

/** How far our clock may be ahead of the log's. */
const SKEW_MS = 5_000;

/** Users in one call. */
const USERS_LIMIT = maxItems(SweepRequestSchema.field.userIds);

/** A session that seems to lack entries of a conversation. */
interface Lack {
  readonly session: Session;
  readonly conversationId: string;
  readonly lastSequence: number;
}

/**
 * Asks the log again and again what changed for the users with sessions here, and tells sessions
 * what they were not sent. So nobody depends on the registry or the bus being right.
 */
export class Sweep {
  readonly #options: SweepOptions;
  readonly #found: { inc(): void };
  readonly #graces = new Set<Timer>();
  #timer: Timer | undefined;
  /** From when on changes were not looked at yet. */
  #sinceMs: number;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#sinceMs = options.clock.now() - SKEW_MS;
    this.#found = options.metrics.counter(
      "lucky_sweep_missed_total",
      "Conversations that a session was not sent and the sweep found.",
    );
  }

  start(): void {
    const { clock, config } = this.#options;
    this.#timer = clock.every(config.sweepIntervalMs, () => void this.run());
  }

  /** Looks at changes since an earlier time with the next sweep. */
  reachBack(toMs: number): void {
    this.#sinceMs = Math.min(this.#sinceMs, toMs - SKEW_MS);
  }

  /** Sweeps now; while one is running, once more after it. Never rejects. */
  run(): Promise<void> {
    if (this.#running) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#sweep()
      .catch((error: unknown) => {
        // The next sweep looks at the same time again.
        this.#options.log.warn({ event: "sweep_failed", err: error });
      })
      .finally(() => {
        this.#running = undefined;
        if (this.#again && !this.#closed) {
          this.#again = false;
          void this.run();
        }
      });
    return this.#running;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.stop();
    for (const timer of this.#graces) timer.stop();
  }

  async #sweep(): Promise<void> {
    const { config, ingress, sessions } = this.#options;
    const users = new Set<string>();
    for (const { isOpen, caller } of sessions.all()) if (isOpen && caller) users.add(caller.userId);
    const userIds = [...users];
    const fromMs = this.#sinceMs;
    let nextMs = Number.POSITIVE_INFINITY;
    const lacks: Lack[] = [];
    for (let at = 0; at < userIds.length; at += USERS_LIMIT) {
      const { changes, nextSinceMs } = await ingress.sweep(
        {
          $typeName: "lucky.internal.ingress.v1.SweepRequest",
          userIds: userIds.slice(at, at + USERS_LIMIT),
          sinceMs: BigInt(fromMs),
        },
        { timeoutMs: config.callTimeoutMs },
      );
      nextMs = Math.min(nextMs, Number(nextSinceMs));
      for (const { userId, conversationId, lastSequence } of changes) {
        this.#compare(userId, conversationId, Number(lastSequence), lacks);
      }
    }
    // Somebody may have reached back meanwhile.
    if (this.#sinceMs === fromMs) {
      this.#sinceMs = userIds.length === 0 ? this.#options.clock.now() - SKEW_MS : nextMs;
    }
    if (lacks.length > 0 && !this.#closed) this.#tellAfterGrace(lacks);
  }

  #compare(userId: string, conversationId: string, lastSequence: number, lacks: Lack[]): void {
    const { channels } = this.#options;
    for (const session of channels.get(userChannel(userId))?.sessions ?? []) {
      if (session.isOpen && lastSent(session, conversationId, channels) < lastSequence) {
        lacks.push({ session, conversationId, lastSequence });
      }
    }
  }

  /** What was committed a moment ago is probably still on its way: only what stays away is told. */
  #tellAfterGrace(lacks: readonly Lack[]): void {
    const { channels, clock, config, log, memberships } = this.#options;
    const timer = clock.after(config.sweepGraceMs, () => {
      this.#graces.delete(timer);
      let told = 0;
      const hidden = new Set<string>();
      for (const { session, conversationId, lastSequence } of lacks) {
        if (!session.isOpen || lastSent(session, conversationId, channels) >= lastSequence)
          continue;
        session.tell(syncRequiredFrame(conversationId, lastSequence));
        this.#found.inc();
        told += 1;
        hidden.add(groupChannel(conversationId)).add(userChannel(session.caller!.userId));
        memberships.check(session.caller!.userId);
      }
      // Whoever published it may not have known that they are heard here.
      if (hidden.size > 0) void channels.joinAgain([...hidden]);
      if (told > 0) log.info({ event: "sweep_missed", conversations: told });
    });
    this.#graces.add(timer);
  }
}
