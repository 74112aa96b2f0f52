import type { Clock } from "#platform/clock.ts";
import type { Database } from "../database.ts";

/** A login that was online. */
export interface Seen {
  loginId: string;
  /** When, milliseconds since the Unix epoch. */
  seenAtMs: number;
}

/**
 * Records when logins were online, in one statement. Nothing goes back, and nothing changes for a
 * login that has ended. It waits for nobody: a row that is being changed right now is left out, for
 * it is a refresh, which says more, or the end.
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
      FROM unnest(${loginIds}::uuid[], ${times}::timestamptz[]) AS told (login_id, at)
      GROUP BY login_id
    ), free AS (
      SELECT login_id, seen.at FROM auth.login JOIN seen USING (login_id)
      WHERE revoked_at IS NULL AND last_seen_at < seen.at
      FOR NO KEY UPDATE OF login SKIP LOCKED
    )
    UPDATE auth.login SET last_seen_at = free.at FROM free WHERE login.login_id = free.login_id`;
}
