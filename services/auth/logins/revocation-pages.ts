import type { Clock } from "#platform/clock.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import { pageOf, pageTokenRefused } from "#platform/rpc/pages.ts";
import type { Revocation } from "./revocation-notifier.ts";

/**
 * Each poll starts this long before the cursor, ms: a revocation may be committed later than its
 * timestamp, or come from an instance with a slow clock. This is longer than a transaction may
 * take.
 */
const OVERLAP_MS = 30_000;
/** Maximum ended logins in one answer, about 60 KiB. */
const PAGE_SIZE = 1_000;

/** Ended logins, and the ids of the stored keys, read in the same snapshot. */
export interface RevocationPage {
  revocations: Revocation[];
  /** Cursor of the next poll, after the last page. */
  nextCursorMs: number;
  /** Empty after the last page. */
  nextPageToken: string;
  /** Ids of all stored keys. */
  keyIds: string[];
}

/** Ended logins whose access tokens may still be valid. */
export interface RevocationPages {
  /**
   * Returns the logins that ended since the cursor (milliseconds since the Unix epoch), ordered by
   * their end, at most 1,000 per page. Throws INVALID_ARGUMENT for an invalid page token.
   */
  since(cursorMs: number, pageToken: string): Promise<RevocationPage>;
}

/**
 * Every process of the mesh polls this twice a second, so it is one prepared statement that returns
 * one row. The redundant condition `revoked_at >=` lets PostgreSQL use the partial index.
 */
export const selectRevocations = {
  name: "auth_revocations",
  text: `
    SELECT
      ARRAY(SELECT key_id FROM auth.key) AS key_ids,
      (SELECT json_agg(json_build_object(
          'loginId', login_id,
          'accessExpiresAtMs', (extract(epoch FROM access_expires_at) * 1000)::bigint,
          'revokedAtMs', (extract(epoch FROM revoked_at) * 1000)::bigint)
          ORDER BY revoked_at, login_id)
        FROM (
          SELECT login_id, access_expires_at, revoked_at FROM auth.login
           WHERE revoked_at >= $1::timestamptz AND (revoked_at, login_id) > ($1, $2::uuid)
             AND access_expires_at > $3::timestamptz
           ORDER BY revoked_at, login_id LIMIT ${PAGE_SIZE + 1}
        ) AS ended
      ) AS ended`,
} as const;

interface Row {
  key_ids: string[];
  /** Null when no login has ended. */
  ended: (Revocation & { revokedAtMs: number })[] | null;
}

export function createRevocationPages({
  pool,
  clock,
}: {
  pool: Pick<Pool, "query">;
  clock: Clock;
}): RevocationPages {
  return {
    async since(cursorMs, pageToken) {
      const now = clock.now();
      // A cursor in the future is from before a step of the clock: start from the beginning.
      const fromMs = cursorMs > now + OVERLAP_MS ? 0 : cursorMs;
      const { afterMs, afterId } = pageToken === "" ? startOf(fromMs) : positionOf(pageToken);
      const values = [new Date(afterMs), afterId, new Date(now)];
      const { rows } = await pool.query<Row>({ ...selectRevocations, values });
      const { key_ids: keyIds, ended } = rows[0]!;
      const { page, nextPageToken } = pageOf(
        ended ?? [],
        PAGE_SIZE,
        (last) => `${last.revokedAtMs}.${last.loginId}`,
      );
      return {
        revocations: page,
        // Bounded by the time of this instance: a fast clock of another instance must not cause
        // later revocations to be skipped.
        nextCursorMs: Math.max(fromMs, Math.min(page.at(-1)?.revokedAtMs ?? 0, now)),
        nextPageToken,
        keyIds,
      };
    },
  };
}

/** The first page starts after this position. No login has this id, the lowest one. */
function startOf(cursorMs: number) {
  const afterMs = Math.max(0, cursorMs - OVERLAP_MS);
  return { afterMs, afterId: "00000000-0000-0000-0000-000000000000" };
}

/** The next page starts after the last login of the previous page. */
function positionOf(pageToken: string) {
  const [, ms, afterId] =
    /^(\d{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(pageToken) ?? [];
  if (!ms || !afterId) throw pageTokenRefused();
  return { afterMs: Number(ms), afterId };
}
