import { SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { phoneOf } from "../accounts/phone-owner.ts";
import type { Account } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import { requirePassword } from "./password-check.ts";
import type { Passwords } from "./passwords.ts";
import type { GivenCode } from "./sms-codes.ts";

const WRONG_PASSWORD = "the password is wrong";

/** The active account of a caller. Throws TOKEN_REVOKED when it is disabled or deleted. */
export async function accountOf(
  { accounts }: { accounts: Pick<Accounts, "byId"> },
  userId: string,
): Promise<Account> {
  const account = await accounts.byId(userId);
  if (account?.state === "active") return account;
  throw accountGone();
}

/** The error for a caller whose account was disabled or deleted while the token was still valid. */
export const accountGone = () => fail(ErrorReason.TOKEN_REVOKED, "the account is no longer active");

/** Evidence of owning the account, in addition to the access token. */
export interface Proof {
  readonly password: string | undefined;
  /** An SMS code of purpose PROVE; empty for none. */
  readonly code: string;
  /** Address of the caller; undefined for calls within the process. */
  readonly address: string | undefined;
}

/**
 * Re-authenticates a caller for changes that an access token alone must not make. An account with a
 * password needs the password; wrong ones count as failed logins. An account without a password
 * needs an SMS code, which is returned; the change must redeem it. Throws as `requirePassword`
 * does, and SMS_CODE_INVALID when the code is missing.
 */
export async function requireProof(
  {
    columns,
    guard,
    passwords,
  }: { columns: ColumnEncryption; guard: BruteForceGuard; passwords: Pick<Passwords, "verify"> },
  account: Account,
  { password, code, address }: Proof,
): Promise<GivenCode[]> {
  const { userId, userName } = account;
  if (account.passwordHash === null && password === undefined) {
    const phone = phoneOf(columns, account);
    if (code === "" || phone === undefined)
      throw fail(
        ErrorReason.SMS_CODE_INVALID,
        "proof_code: required when the account has no password",
      );
    return [{ phone, purpose: SmsPurpose.PROVE, userId: String(userId), code }];
  }
  if (password === undefined) throw fail(ErrorReason.CREDENTIALS_INVALID, WRONG_PASSWORD);
  await requirePassword(
    { guard, passwords },
    { account, userName, password, address, errorText: WRONG_PASSWORD },
  );
  return [];
}

/**
 * Guards against a race with a password change: throws CREDENTIALS_INVALID when the password was
 * changed between the check (`before`) and the transaction that relies on it (`now`).
 */
export function requireSamePassword(before: Account, now: Account): void {
  if (now.passwordChangedAt?.getTime() === before.passwordChangedAt?.getTime()) return;
  throw fail(ErrorReason.CREDENTIALS_INVALID, WRONG_PASSWORD);
}
