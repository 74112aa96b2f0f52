import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { Pool } from "#platform/postgres/pool.ts";

/** Actions that change the state of an account. */
const STATE_ACTIONS = [
  AuditAction.ACCOUNT_DISABLED,
  AuditAction.ACCOUNT_ENABLED,
  AuditAction.ACCOUNT_DELETED,
];
/** Maximum users in one answer. */
const PAGE_SIZE = 1_000;

/** Users whose accounts changed their state. */
export interface AccountChangePage {
  userIds: string[];
  /** Cursor of the next page: the last audit entry that this page covers. */
  nextCursor: string;
  hasMore: boolean;
}

/** The changes of the states of accounts, in their order. */
export interface AccountChanges {
  /**
   * Returns the users whose accounts were deleted, disabled or enabled after the cursor, at most
   * 1,000. Without a cursor: only the current one.
   */
  since(cursor: string | undefined): Promise<AccountChangePage>;
}

/**
 * The cursor is an audit id: every change of a state writes an audit entry in its transaction. All
 * audit entries are written under the lock of `lockRolesAndStates`, so their ids are committed in
 * ascending order, and no later commit has a lower id. Every server polls this once a second: one
 * prepared statement that reads the entries after the cursor by their primary key.
 */
export const selectAccountChanges = {
  name: "auth_account_changes",
  text: `
    WITH last AS MATERIALIZED (SELECT coalesce(max(audit_id), 0) AS audit_id FROM auth.audit)
    SELECT last.audit_id AS last,
           (SELECT json_agg(json_build_object('userId', user_id::text, 'auditId', audit_id::text)
                            ORDER BY audit_id)
              FROM (
                SELECT user_id, audit_id FROM auth.audit
                 WHERE audit_id > $1::bigint AND action IN (${STATE_ACTIONS.join(", ")})
                 ORDER BY audit_id LIMIT ${PAGE_SIZE + 1}
              ) AS changed) AS changed
      FROM last`,
} as const;

interface Row {
  last: string;
  /** Null when no account changed. */
  changed: { userId: string; auditId: string }[] | null;
}

export function createAccountChanges({ pool }: { pool: Pick<Pool, "query"> }): AccountChanges {
  return {
    async since(cursor) {
      // Without a cursor nothing is after it.
      const values = [cursor ?? LAST_ID];
      const { rows } = await pool.query<Row>({ ...selectAccountChanges, values });
      const { last, changed } = rows[0]!;
      const page = changed?.slice(0, PAGE_SIZE) ?? [];
      const hasMore = changed !== null && changed.length > page.length;
      return {
        userIds: page.map(({ userId }) => userId),
        nextCursor: hasMore ? page.at(-1)!.auditId : last,
        hasMore,
      };
    },
  };
}

/** The highest id. */
const LAST_ID = String(2n ** 63n - 1n);
