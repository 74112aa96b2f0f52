import type { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Transaction } from "../database.ts";

/** One thing that was done, without personal data. Ids are decimal strings. */
export interface AuditEntry {
  /** Who did it; "0" for the configuration. */
  actorId: string;
  action: AuditAction;
  /** To whom; "0" for nobody. */
  userId: string;
  /** What was changed, such as "user → operator". */
  detail?: string;
  /** Why, as who did it gave it. */
  reason?: string;
  /** From where, shortened. */
  coarseAddress?: string;
}

/** Keeps what operators and administrators did. */
export interface Audit {
  /** In the transaction of the change: neither is there without the other. */
  write(tx: Transaction, audited: AuditEntry): Promise<void>;
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
