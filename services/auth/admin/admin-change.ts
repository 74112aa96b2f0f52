import type { HandlerContext } from "@connectrpc/connect";
import type { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Account } from "#gen/prisma/client.ts";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { requirePrintable } from "#platform/printable.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { accountForChange, lockRolesAndStates } from "../accounts/account-states.ts";
import type { Transaction } from "../database.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Revocation } from "../logins/revocation-notifier.ts";

/** A change that somebody makes, as the audit keeps it. */
export interface Act {
  readonly context: HandlerContext;
  readonly action: AuditAction;
  /** Why, as who does it says. */
  readonly reason: string;
}

/** What a change did; undefined when everything was so already. */
export type Done =
  | {
      /** For the audit. */
      readonly detail: string;
      /** The logins that it ended, to be told of after the commit. */
      readonly ended?: readonly Revocation[];
    }
  | undefined;

/**
 * Makes changes of operators and administrators: each in one transaction with its audit and the
 * logins that it ends.
 */
export interface Changes {
  /**
   * Changes an account. Throws USER_NOT_FOUND, INVALID_ARGUMENT for a reason with control
   * characters, and PERMISSION_DENIED when the caller may not act on the account, also when the
   * caller's role was taken away a moment ago.
   */
  ofAccount(
    userId: string,
    act: Act,
    work: (tx: Transaction, account: Account) => Promise<Done>,
  ): Promise<void>;
  /** Changes, or looks at, what belongs to no account, or to one that `work` finds out. */
  ofSystem(
    act: Act,
    work: (tx: Transaction) => Promise<{ detail: string; userId?: string }>,
  ): Promise<void>;
}

export function createChanges({
  audit,
  database,
  logins,
}: Pick<AuthDependencies, "audit" | "database" | "logins">): Changes {
  /** The caller's role, as it is now and stays until the transaction ends. */
  async function roleOf(tx: Transaction, userId: string): Promise<"operator" | "admin"> {
    const caller = await tx.account.findUnique({ where: { userId: BigInt(userId) } });
    const role = caller?.state === "active" ? caller.role : undefined;
    if (role === "operator" || role === "admin") return role;
    throw fail(ErrorReason.PERMISSION_DENIED, "the caller looks after accounts no more");
  }

  function writing({ action, context, reason }: Act) {
    requirePrintable("reason", reason);
    const { userId: actorId } = userOf(context);
    const place = coarseAddress(context.values.get(peerAddress));
    return {
      actorId,
      write: (tx: Transaction, userId: string, detail: string) =>
        audit.write(tx, { actorId, action, userId, detail, reason, coarseAddress: place }),
    };
  }

  return {
    async ofAccount(userId, act, work) {
      const { actorId, write } = writing(act);
      const done = await database.$transaction(async (tx) => {
        await lockRolesAndStates(tx);
        const role = await roleOf(tx, actorId);
        const account = await accountForChange(tx, userId);
        if (role !== "admin" && (account.role === "operator" || account.role === "admin"))
          throw fail(
            ErrorReason.PERMISSION_DENIED,
            "operators do not act on operators and administrators",
          );
        const done = await work(tx, account);
        if (done) await write(tx, userId, done.detail);
        return done;
      });
      if (done?.ended) logins.notifyRevoked(done.ended);
    },
    async ofSystem(act, work) {
      const { actorId, write } = writing(act);
      await database.$transaction(async (tx) => {
        await lockRolesAndStates(tx);
        await roleOf(tx, actorId);
        const { detail, userId = "0" } = await work(tx);
        await write(tx, userId, detail);
      });
    },
  };
}
