import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { nameKey } from "../accounts/names.ts";
import type { Account } from "../database.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import type { Passwords } from "./passwords.ts";

/** What somebody claims. */
export interface PasswordClaim {
  /** Undefined when there is no such account. */
  readonly account: Account | undefined;
  /** The name that was claimed. */
  readonly userName: string;
  readonly password: string;
  /** Where the claim comes from; undefined for the same process. */
  readonly address: string | undefined;
  /** What who does not prove it reads. */
  readonly text: string;
}

/**
 * Resolves when the password is the account's and the account is not locked. Throws
 * CREDENTIALS_INVALID, ACCOUNT_LOCKED only for the right password, RATE_LIMITED or OVERLOADED.
 */
export async function requirePassword(
  { guard, passwords }: { guard: BruteForceGuard; passwords: Pick<Passwords, "verify"> },
  { account, userName, password, address, text }: PasswordClaim,
): Promise<void> {
  const attempt = { account: guardKeyOf(account, userName), address };
  const standing = await guard.check(attempt);
  // Verified in any case: how long it takes must not tell who exists or is locked.
  const right = await passwords.verify(account?.passwordHash, password);
  if (standing.kind === "locked" && right && standing.tells) {
    const { retryAfterMs } = standing;
    throw fail(ErrorReason.ACCOUNT_LOCKED, "too many wrong passwords", { retryAfterMs });
  }
  if (standing.kind === "free" && right) return guard.succeeded(attempt);
  if (standing.kind === "free") await guard.failed(attempt);
  throw fail(ErrorReason.CREDENTIALS_INVALID, text);
}

/**
 * What is guessed at: this password of this account. With a new password all locks are off, and the
 * next one to take the name of a deleted account does not inherit any.
 */
function guardKeyOf(account: Account | undefined, userName: string): string {
  if (!account) return `name:${nameKey(userName)}`;
  return `user:${account.userId}:${account.passwordChangedAt?.getTime() ?? 0}`;
}
