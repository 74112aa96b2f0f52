import type { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Transaction } from "../database.ts";

/** One action, without personal data. Ids are decimal strings. */
export interface AuditEntry {
  /** The user who acted; "0" for the configuration. */
  actorId: string;
  action: AuditAction;
  /** The affected user; "0" for none. */
  userId: string;
  /** The change, such as "user → operator". */
  detail?: string;
  /** The reason, in the words of the acting user. */
  reason?: string;
  /** Network of the acting user, shortened. */
  coarseAddress?: string;
}

/** The audit log of operators and administrators. */
export interface Audit {
  /**
   * Writes an entry in the transaction of the change: both are committed, or neither. The caller
   * holds the lock of `lockRolesAndStates`, so that the ids are committed in ascending order.
   */
  write(tx: Transaction, entry: AuditEntry): Promise<void>;
}

export function createAudit({ clock }: { clock: Clock }): Audit {
  return {
    async write(tx, { actorId, action, userId, detail = "", reason = "", coarseAddress = "" }) {
      const ids = { actorId: BigInt(actorId), userId: BigInt(userId) };
      const at = new Date(clock.now());
      await tx.audit.create({ data: { ...ids, action, detail, reason, coarseAddress, at } });
    },
  };
}
