import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Pool } from "#platform/postgres/pool.ts";
import type { Revocation } from "./revocation-notifier.ts";

/**
 * A revocation may be committed this much later than its time says, or come from a late clock: more
 * than a transaction may take.
 */
const OVERLAP_MS = 30_000;
/** Ended logins in one answer: some 60 KiB. */
const REVOKED_PAGE = 1_000;

/** Ended logins, how to go on, and the keys that there were at the same moment. */
export interface RevocationPage {
  revocations: Revocation[];
  /** For the next question, once there are no more pages. */
  nextCursorMs: number;
  /** Empty: no more pages. */
  nextPageToken: string;
  /** Ids of all keys that are stored. */
  keyIds: string[];
}

/** Logins that ended and whose access tokens may still be good. */
export interface RevocationPages {
  /**
   * Those that ended since the cursor, milliseconds since the Unix epoch, the first to end first.
   * Throws INVALID_ARGUMENT for a page token that is none.
   */
  since(cursorMs: number, pageToken: string): Promise<RevocationPage>;
}

/**
 * Every process of the mesh asks this twice a second: so it is one prepared statement, and one row
 * to read. That `revoked_at >=` is said too lets PostgreSQL see that the partial index will do.
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
           ORDER BY revoked_at, login_id LIMIT ${REVOKED_PAGE + 1}
        ) AS ended
      ) AS ended`,
} as const;

interface Row {
  key_ids: string[];
  /** null: none. */
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
      const { afterMs, afterId } = pageToken === "" ? startOf(cursorMs) : placeOf(pageToken);
      const values = [new Date(afterMs), afterId, new Date(now)];
      const { rows } = await pool.query<Row>({ ...selectRevocations, values });
      const { key_ids: keyIds, ended } = rows[0]!;
      const page = ended?.slice(0, REVOKED_PAGE) ?? [];
      const last = page.at(-1);
      const more = last !== undefined && ended!.length > page.length;
      return {
        revocations: page,
        // Not beyond our own clock: a fast clock elsewhere must not hide what comes after it.
        nextCursorMs: Math.max(cursorMs, Math.min(last?.revokedAtMs ?? 0, now)),
        nextPageToken: more ? `${last.revokedAtMs}.${last.loginId}` : "",
        keyIds,
      };
    },
  };
}

/** What the page begins behind: no login has the lowest id. */
function startOf(cursorMs: number) {
  const afterMs = Math.max(0, cursorMs - OVERLAP_MS);
  return { afterMs, afterId: "00000000-0000-0000-0000-000000000000" };
}

/** The login that the page before ended with. */
function placeOf(pageToken: string) {
  const [, ms, afterId] =
    /^(\d{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(pageToken) ?? [];
  if (!ms || !afterId) throw fail(ErrorReason.INVALID_ARGUMENT, "page_token: is none of ours");
  return { afterMs: Number(ms), afterId };
}
