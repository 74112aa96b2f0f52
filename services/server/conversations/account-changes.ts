import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Users } from "./users.ts";

export interface AccountChangesOptions {
  readonly sessions: Pick<Client<typeof SessionService>, "listAccountChanges">;
  readonly users: Pick<Users, "evict" | "clear">;
  readonly clock: Clock;
  readonly log: Log;
}

/** Time between the end of one poll and the start of the next, ms. */
const INTERVAL_MS = 1_000;
const DEADLINE_MS = 5_000;
/** Maximum age of cached states while an older version of auth cannot list changes, ms. */
const UNLISTED_AGE_MS = 60_000;

/**
 * Polls auth for accounts that were deleted, disabled or enabled, and evicts their users from the
 * cache. While auth does not answer, the cached states stay in force; the next answer covers the
 * outage. With an older version of auth, which lacks the method, the cache is cleared every
 * minute.
 */
export function watchAccountChanges({ sessions, users, clock, log }: AccountChangesOptions): {
  /** Stops polling. Idempotent. */
  close(): void;
} {
  const stop = new AbortController();
  let cursor: bigint | undefined;
  let failing = false;
  /** When the cache was last known to reflect all changes, elapsed ms. */
  let completeAtMs = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;

  async function poll(): Promise<void> {
    const options = { signal: stop.signal, timeoutMs: DEADLINE_MS };
    let hasMore = true;
    while (hasMore) {
      const answer = await sessions.listAccountChanges({ cursor }, options);
      // Without a cursor, changes since the start of the process may be missing from the answer. A
      // lower cursor is that of a restored database.
      if (cursor === undefined || answer.nextCursor < cursor) users.clear();
      users.evict(answer.userIds);
      cursor = answer.nextCursor;
      hasMore = answer.hasMore;
    }
    completeAtMs = clock.elapsed();
  }

  /** Clears the cache when auth lacks the method, and the last list of changes is a minute old. */
  function clearUnlisted(err: unknown): void {
    if (ConnectError.from(err).code !== Code.Unimplemented) return;
    if (clock.elapsed() - completeAtMs < UNLISTED_AGE_MS) return;
    users.clear();
    completeAtMs = clock.elapsed();
  }

  function pollForever(): void {
    poll()
      .then(
        () => {
          if (failing) log.info({ event: "account_changes_refreshed" });
          failing = false;
        },
        (err: unknown) => {
          if (!failing && !stop.signal.aborted) {
            log.warn({ event: "account_changes_not_refreshed", err });
          }
          failing = true;
          clearUnlisted(err);
        },
      )
      .then(() => {
        if (!stop.signal.aborted) timer = clock.after(INTERVAL_MS, pollForever);
      });
  }
  pollForever();

  return {
    close() {
      stop.abort();
      timer?.stop();
    },
  };
}
