import type { Client } from "@connectrpc/connect";
import {
  type IngressService,
  SweepRequestSchema,
  type SweepResponse,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { callInParts, isTransient } from "#platform/batching/parts.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Sessions } from "../socket/sessions.ts";
import type { Channels } from "../subscriptions/channels.ts";
import type { Memberships } from "../subscriptions/memberships.ts";
import { lastSentSequence } from "../subscriptions/missed-entries.ts";

export interface SweepOptions {
  ingress: Pick<Client<typeof IngressService>, "sweep">;
  channels: Channels;
  memberships: Pick<Memberships, "check">;
  /** Takes the epochs of the databases that were swept. */
  logResets: { observe(databases: SweepResponse["databases"]): void };
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

/**
 * Cursors of earlier sweeps that are kept, for `sweepFrom`. They reach farther back than a session can
 * be a slow reader.
 */
const KEPT_CURSORS = 20;

/** Delay of a retry while no sweep has succeeded yet, ms. */
const FIRST_RETRY_MS = 1_000;

/** Maximum users in one call. */
const USERS_LIMIT = maxItems(SweepRequestSchema.field.userIds);

/** Entries of a conversation that a session seems to miss. */
interface Gap {
  readonly session: Session;
  readonly conversationId: string;
  readonly lastSequence: number;
}

/**
 * Polls the log for changes of the users with sessions on this instance, and sends SyncRequired to
 * sessions that miss entries. Delivery therefore does not depend on the registry or the bus.
 */
export class Sweep {
  readonly #options: SweepOptions;
  readonly #missed: { inc(): void };
  /** Timers of gaps that may still close before the grace time ends. */
  readonly #graces = new Set<Timer>();
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  /** Changes since this cursor are not checked yet; empty: all news that server keeps. */
  #cursor = "";
  /** Cursors of earlier sweeps, the oldest first, with their times by the clock's elapsed time. */
  #earlier: { readonly cursor: string; readonly takenAtMs: number }[] = [];
  #running: Promise<void> | undefined;
  #rerun = false;
  #closed = false;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#missed = options.metrics.counter(
      "lucky_sweep_missed_total",
      "Conversations with entries that were not sent to a session, found by the sweep.",
    );
  }

  start(): void {
    const { clock, config } = this.#options;
    this.#timer = clock.every(config.sweepIntervalMs, () => void this.run());
    // Later sweeps compare the epochs of the log with those of the first one.
    void this.run();
  }

  /** Extends the next sweep back to an earlier time, ms by the clock's elapsed time. */
  sweepFrom(fromMs: number): void {
    while ((this.#earlier.at(-1)?.takenAtMs ?? 0) > fromMs) this.#earlier.pop();
    this.#cursor = this.#earlier.at(-1)?.cursor ?? "";
  }

  /** Sweeps now. While a sweep is running, schedules another one after it. Never rejects. */
  run(): Promise<void> {
    if (this.#running) {
      this.#rerun = true;
      return this.#running;
    }
    this.#running = this.#sweep()
      .catch((error: unknown) => {
        // The next sweep retries the same span.
        this.#options.log.warn({ event: "sweep_failed", err: error });
        if (this.#cursor === "" && !this.#closed) this.#retryFirst();
      })
      .finally(() => {
        this.#running = undefined;
        if (this.#rerun && !this.#closed) {
          this.#rerun = false;
          void this.run();
        }
      });
    return this.#running;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.stop();
    this.#retry?.stop();
    for (const timer of this.#graces) timer.stop();
  }

  /** Until a sweep has succeeded, a reset of the log would end no session. */
  #retryFirst(): void {
    this.#retry?.stop();
    this.#retry = this.#options.clock.after(FIRST_RETRY_MS, () => void this.run());
  }

  async #sweep(): Promise<void> {
    const { clock, config, ingress, log, logResets, memberships, sessions } = this.#options;
    const users = new Set<string>();
    for (const { isOpen, caller } of sessions.all()) if (isOpen && caller) users.add(caller.userId);
    const userIds = [...users];
    const takenAtMs = clock.elapsed();
    const cursor = this.#cursor;
    let nextCursor = "";
    const gaps: Gap[] = [];
    let complete = true;
    // Without users, one call reads the epochs.
    for (let at = 0; at === 0 || at < userIds.length; at += USERS_LIMIT) {
      await callInParts(
        userIds.slice(at, at + USERS_LIMIT),
        async (part) => {
          const swept = await ingress.sweep(
            { $typeName: "lucky.internal.ingress.v1.SweepRequest", userIds: [...part], cursor },
            { timeoutMs: config.callTimeoutMs },
          );
          // The next sweep continues from the cursor of this sweep's first call.
          nextCursor ||= swept.nextCursor;
          logResets.observe(swept.databases);
          for (const { userId, conversationId, lastSequence } of swept.changes)
            this.#compare(userChannel(userId), conversationId, lastSequence, gaps);
          for (const { groupId, lastSequence } of swept.groups)
            this.#compare(groupChannel(groupId), groupId, lastSequence, gaps);
          for (const userId of swept.memberUserIds) memberships.check(userId);
        },
        (part, error) => {
          if (part.length !== 1 || isTransient(error)) throw error;
          // A failing user does not stop the sweep of others. The next sweep retries its span.
          log.error({ event: "user_not_swept", userId: part[0], err: error });
          complete = false;
        },
      );
    }
    // Race: `sweepFrom` may have been called during the sweep.
    if (complete && this.#cursor === cursor) {
      this.#cursor = nextCursor;
      this.#earlier.push({ cursor: nextCursor, takenAtMs });
      if (this.#earlier.length > KEPT_CURSORS) this.#earlier.shift();
    }
    if (gaps.length > 0 && !this.#closed) this.#confirmAfterGrace(gaps);
  }

  /** Collects the sessions that hear the channel and miss entries of the conversation. */
  #compare(name: string, conversationId: string, lastSequence: bigint, gaps: Gap[]): void {
    const { channels } = this.#options;
    const last = Number(lastSequence);
    for (const session of channels.get(name)?.sessions ?? []) {
      if (session.isOpen && lastSentSequence(session, conversationId, channels) < last)
        gaps.push({ session, conversationId, lastSequence: last });
    }
  }

  /**
   * Recent entries are probably still in flight: only gaps that outlive the grace time are
   * reported.
   */
  #confirmAfterGrace(gaps: readonly Gap[]): void {
    const { channels, clock, config, log, memberships } = this.#options;
    const timer = clock.after(config.sweepGraceMs, () => {
      this.#graces.delete(timer);
      let confirmed = 0;
      const unheard = new Set<string>();
      for (const { session, conversationId, lastSequence } of gaps) {
        if (!session.isOpen || lastSentSequence(session, conversationId, channels) >= lastSequence)
          continue;
        session.sendRequired(syncRequiredFrame(conversationId, lastSequence));
        this.#missed.inc();
        confirmed += 1;
        unheard.add(groupChannel(conversationId)).add(userChannel(session.caller!.userId));
        memberships.check(session.caller!.userId);
      }
      // The registry may have lost these channels, so that the publisher did not find this
      // instance.
      if (unheard.size > 0) void channels.rejoinChannels([...unheard]);
      if (confirmed > 0) log.info({ event: "sweep_missed", conversations: confirmed });
    });
    this.#graces.add(timer);
  }
}
