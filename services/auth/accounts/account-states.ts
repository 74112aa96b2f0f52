import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Account, Transaction } from "../database.ts";

/** Advisory lock that serialises changes of roles and states. */
const ROLES_LOCK_ID = 4_108_311_972n;

/**
 * Locks all roles and states until the transaction ends. So a decision that depends on the current
 * administrators does not race with another change. One global lock is enough: changes are rare.
 */
export async function lockRolesAndStates(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${ROLES_LOCK_ID})`;
}

/** Locks an account's row until the transaction ends; its logins change under the same lock. */
export async function lockAccount(tx: Transaction, userId: bigint): Promise<void> {
  await tx.$executeRaw`SELECT 1 FROM auth.account WHERE user_id = ${userId} FOR NO KEY UPDATE`;
}

/** Locks an account for a change, and reads it. Throws USER_NOT_FOUND, also for a deleted one. */
export async function accountForChange(tx: Transaction, userId: string): Promise<Account> {
  const id = BigInt(userId);
  await lockAccount(tx, id);
  const account = await tx.account.findUnique({ where: { userId: id } });
  if (account && account.state !== "deleted") return account;
  throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
}

/** The number of active administrators. */
export const countAdmins = (tx: Transaction): Promise<number> =>
  tx.account.count({ where: { role: "admin", state: "active" } });

/**
 * Throws LAST_ADMIN when the account is the only active administrator. The caller holds the lock of
 * `lockRolesAndStates`.
 */
export async function requireOtherAdmin(tx: Transaction, account: Account): Promise<void> {
  if (account.role !== "admin" || account.state !== "active") return;
  if ((await countAdmins(tx)) > 1) return;
  throw fail(ErrorReason.LAST_ADMIN, "it would leave no administrator");
}
