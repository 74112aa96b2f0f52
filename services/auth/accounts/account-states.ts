import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Account, Transaction } from "../database.ts";

/** Of the advisory lock under which roles and states change. */
const ROLES_LOCK_ID = 4_108_311_972n;

/**
 * Until the transaction ends, nobody else changes a role or a state: what is decided on who is
 * administrator stays true. Such changes are rare, so they come one after the other.
 */
export async function lockRolesAndStates(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${ROLES_LOCK_ID})`;
}

/** An account that is not deleted, locked for a change. Throws USER_NOT_FOUND. */
export async function accountForChange(tx: Transaction, userId: string): Promise<Account> {
  const id = BigInt(userId);
  await tx.$executeRaw`SELECT 1 FROM auth.account WHERE user_id = ${id} FOR NO KEY UPDATE`;
  const account = await tx.account.findUnique({ where: { userId: id } });
  if (account && account.state !== "deleted") return account;
  throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
}

/** How many accounts are administrators and can be used. */
export const countAdmins = (tx: Transaction): Promise<number> =>
  tx.account.count({ where: { role: "admin", state: "active" } });

/**
 * Throws LAST_ADMIN when nobody would be administrator without this account. Under
 * `lockRolesAndStates`.
 */
export async function requireOtherAdmin(tx: Transaction, account: Account): Promise<void> {
  if (account.role !== "admin" || account.state !== "active") return;
  if ((await countAdmins(tx)) > 1) return;
  throw fail(ErrorReason.LAST_ADMIN, "it would leave no administrator");
}
