import type { HandlerContext } from "@connectrpc/connect";
import type { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { accountForChange, lockRolesAndStates } from "../accounts/account-states.ts";
import type { Audit } from "../accounts/audit.ts";
import type { Account, Database, Transaction } from "../database.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Logins } from "../logins/logins.ts";
import type { Revocation } from "../logins/revocation-notifier.ts";

/** One action of an operator or administrator, as the audit log records it. */
export interface AdminAction {
  readonly context: HandlerContext;
  readonly action: AuditAction;
  /** The reason that the caller gives. */
  readonly reason: string;
}

/** The result of a change; undefined when nothing had to change. */
export type ChangeResult =
  | {
      /** Detail of the audit entry. */
      readonly detail: string;
      /** Logins that the change ended. They are published after the commit. */
      readonly ended?: readonly Revocation[];
    }
  | undefined;

/**
 * Runs the changes of operators and administrators. One transaction contains a change, its audit
 * entry and the end of the affected logins.
 */
export interface AuditedChanges {
  /**
   * Changes an account. Throws USER_NOT_FOUND, and PERMISSION_DENIED when the caller may not change
   * the account. The caller's role is read from the database, so a revoked role is refused although
   * the token still carries it.
   */
  changeAccount(
    userId: string,
    act: AdminAction,
    work: (tx: Transaction, account: Account) => Promise<ChangeResult>,
  ): Promise<void>;
  /**
   * Audits an action without a target account, or with a target that `work` finds. Throws as
   * `changeAccount` does, except USER_NOT_FOUND.
   */
  changeSystem(
    act: AdminAction,
    work: (tx: Transaction) => Promise<{ detail: string; userId?: string }>,
  ): Promise<void>;
  /** Audits an action in another service, before it happens. Throws PERMISSION_DENIED. */
  record(action: ForeignAction, detail: string): Promise<void>;
}

/** An operator's action in another service. */
export interface ForeignAction {
  readonly actorId: string;
  readonly action: AuditAction;
  readonly reason: string;
  /** Address of the operator; empty when it is not known. */
  readonly address: string;
}

export function createAuditedChanges({
  audit,
  database,
  logins,
}: {
  audit: Audit;
  database: Database;
  logins: Pick<Logins, "notifyRevoked">;
}): AuditedChanges {
  /** The caller's current role. The lock on roles keeps it until the transaction ends. */
  async function roleOf(tx: Transaction, userId: string): Promise<"operator" | "admin"> {
    const caller = await tx.account.findUnique({ where: { userId: BigInt(userId) } });
    const role = caller?.state === "active" ? caller.role : undefined;
    if (role === "operator" || role === "admin") return role;
    throw fail(
      ErrorReason.PERMISSION_DENIED,
      "the caller is no longer an operator or administrator",
    );
  }

  function auditWriter({ action, context, reason }: AdminAction) {
    const { userId: actorId } = userOf(context);
    const address = coarseAddress(context.values.get(peerAddress));
    return {
      actorId,
      write: (tx: Transaction, userId: string, detail: string) =>
        audit.write(tx, { actorId, action, userId, detail, reason, coarseAddress: address }),
    };
  }

  return {
    async changeAccount(userId, act, work) {
      const { actorId, write } = auditWriter(act);
      const changed = await database.$transaction(async (tx) => {
        await lockRolesAndStates(tx);
        const role = await roleOf(tx, actorId);
        const account = await accountForChange(tx, userId);
        if (role !== "admin" && (account.role === "operator" || account.role === "admin"))
          throw fail(
            ErrorReason.PERMISSION_DENIED,
            "operators may not change operators or administrators",
          );
        const result = await work(tx, account);
        if (result) await write(tx, userId, result.detail);
        return result;
      });
      if (changed?.ended) logins.notifyRevoked(changed.ended);
    },
    async record({ address, ...act }, detail) {
      await database.$transaction(async (tx) => {
        await lockRolesAndStates(tx);
        await roleOf(tx, act.actorId);
        const entry = { ...act, userId: "0", detail, coarseAddress: coarseAddress(address) };
        await audit.write(tx, entry);
      });
    },
    async changeSystem(act, work) {
      const { actorId, write } = auditWriter(act);
      await database.$transaction(async (tx) => {
        await lockRolesAndStates(tx);
        await roleOf(tx, actorId);
        const { detail, userId = "0" } = await work(tx);
        await write(tx, userId, detail);
      });
    },
  };
}
