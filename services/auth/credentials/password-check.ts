import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { nameKey } from "../accounts/names.ts";
import type { Account } from "../database.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import type { Passwords } from "./passwords.ts";

/** A password to check, and the account that it is for. */
export interface PasswordClaim {
  /** Undefined when no account has the name. */
  readonly account: Account | undefined;
  /** The user name that the caller gave. */
  readonly userName: string;
  readonly password: string;
  /** Address of the caller; undefined for calls within the process. */
  readonly address: string | undefined;
  /** Error text of CREDENTIALS_INVALID. */
  readonly errorText: string;
}

/**
 * Resolves when the password is right and the account is not locked by the brute-force guard.
 * Throws CREDENTIALS_INVALID, ACCOUNT_LOCKED only for the right password, RATE_LIMITED or
 * OVERLOADED.
 */
export async function requirePassword(
  { guard, passwords }: { guard: BruteForceGuard; passwords: Pick<Passwords, "verify"> },
  { account, userName, password, address, errorText }: PasswordClaim,
): Promise<void> {
  const attempt = {
    account: guardKeyOf(account, userName),
    exists: account !== undefined,
    address,
  };
  const lock = await guard.check(attempt);
  // Always verified: the duration must not disclose whether the account exists or is locked.
  const right = await passwords.verify(account?.passwordHash, password);
  if (lock.kind === "locked" && right && lock.disclose) {
    const { retryAfterMs } = lock;
    throw fail(ErrorReason.ACCOUNT_LOCKED, "too many wrong passwords", { retryAfterMs });
  }
  if (lock.kind === "free" && right) return guard.succeeded(attempt);
  if (lock.kind === "free") await guard.failed(attempt);
  throw fail(ErrorReason.CREDENTIALS_INVALID, errorText);
}

/**
 * The key that the guard counts failures by: the account and the time of its password. So a new
 * password lifts all locks, and a new account with the name of a deleted account inherits no lock.
 */
function guardKeyOf(account: Account | undefined, userName: string): string {
  if (!account) return nameKey(userName);
  return `user:${account.userId}:${account.passwordChangedAt?.getTime() ?? 0}`;
}
