import type { Client } from "@connectrpc/connect";
import {
  RecordLastSeenRequestSchema,
  type SessionService,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { maxItems } from "#platform/validation/constraints.ts";

interface Seen {
  readonly loginId: string;
  readonly seenAtMs: number;
}

export interface LastSeenOptions {
  logins: Pick<Client<typeof SessionService>, "recordLastSeen">;
  clock: Clock;
  log: Log;
  config: {
    readonly lastSeenMs: number;
    readonly lastSeenLingerMs: number;
    readonly lastSeenQueue: number;
    readonly callTimeoutMs: number;
  };
}

/** Maximum logins in one call. */
const BATCH_LIMIT = maxItems(RecordLastSeenRequestSchema.field.seen);
const ATTEMPTS = 3;

/**
 * Reports to auth when logins were online: when a session opens, when it ends, and every
 * `lastSeenMs` between. Reports linger, are merged per login and sent in batches. A batch that
 * fails after its retries is dropped: the next report of a login replaces it.
 */
export class LastSeen {
  readonly #reports: Coalescer<Seen>;
  readonly #clock: Clock;
  readonly #config: Pick<LastSeenOptions["config"], "lastSeenMs">;

  constructor({ logins, clock, log, config }: LastSeenOptions) {
    this.#clock = clock;
    this.#config = config;
    this.#reports = new Coalescer({
      clock,
      batchCount: BATCH_LIMIT,
      lingerMs: config.lastSeenLingerMs,
      queueCount: config.lastSeenQueue,
      attempts: ATTEMPTS,
      call: (seen) =>
        logins.recordLastSeen(
          {
            seen: seen.map(({ loginId, seenAtMs }) => ({ loginId, seenAtMs: BigInt(seenAtMs) })),
          },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped: (count, err) => log.warn({ event: "last_seen_dropped", logins: count, err }),
    });
  }

  /** Reports that a login is online, or was until now. */
  record(loginId: string): void {
    const seen = { loginId, seenAtMs: this.#clock.now() };
    this.#reports.put(loginId, () => seen);
  }

  /**
   * Reports an open session when one of its intervals ended between `fromMs`, the time of the last
   * call, and `nowMs`, both elapsed ms. Intervals start with the session, so the reports of sessions
   * are spread in time and need no state.
   */
  recordIfDue(
    { openedAtMs }: { readonly openedAtMs: number },
    loginId: string,
    { fromMs, nowMs }: { readonly fromMs: number; readonly nowMs: number },
  ): void {
    const interval = (ms: number) => Math.floor((ms - openedAtMs) / this.#config.lastSeenMs);
    if (interval(nowMs) > Math.max(0, interval(fromMs))) this.record(loginId);
  }

  /**
   * Flushes the queue and accepts no further reports. Resolves when auth has received them, or
   * cannot be reached.
   */
  close(): Promise<void> {
    return this.#reports.close();
  }
}
