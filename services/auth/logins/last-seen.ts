import type { Clock } from "#platform/clock.ts";
import type { Database } from "../database.ts";

export interface Seen {
  loginId: string;
  /** When the login was last online, milliseconds since the Unix epoch. */
  seenAtMs: number;
}

/**
 * Records when logins were online, in one statement. Times only move forward and not past now;
 * duplicate logins count once, with their latest time; ended logins are ignored. The statement
 * skips locked rows instead of waiting: the other transaction is a refresh, which sets a later
 * time, or it ends the login.
 */
export async function recordLastSeen(
  { clock, database }: { clock: Clock; database: Database },
  seen: readonly Seen[],
): Promise<void> {
  const now = clock.now();
  const loginIds = seen.map(({ loginId }) => loginId);
  const times = seen.map(({ seenAtMs }) => new Date(Math.min(seenAtMs, now)));
  await database.$executeRaw`
    WITH seen AS (
      SELECT login_id, max(at) AS at
      FROM unnest(${loginIds}::uuid[], ${times}::timestamptz[]) AS input (login_id, at)
      GROUP BY login_id
    ), unlocked AS (
      SELECT login_id, seen.at FROM auth.login JOIN seen USING (login_id)
      WHERE revoked_at IS NULL AND last_seen_at < seen.at
      FOR NO KEY UPDATE OF login SKIP LOCKED
    )
    UPDATE auth.login SET last_seen_at = unlocked.at FROM unlocked
    WHERE login.login_id = unlocked.login_id`;
}
