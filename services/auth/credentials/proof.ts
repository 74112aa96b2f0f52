import { SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { phoneOf } from "../accounts/phone-owner.ts";
import type { Account } from "../database.ts";
import type { Columns } from "../keys/columns.ts";
import type { BruteForceGuard } from "./brute-force-guard.ts";
import { requirePassword } from "./password-check.ts";
import type { Passwords } from "./passwords.ts";
import type { GivenCode } from "./sms-codes.ts";

/** The account behind a caller's token. Throws TOKEN_REVOKED when it is no more. */
export async function accountOf(
  { accounts }: { accounts: Pick<Accounts, "byId"> },
  userId: string,
): Promise<Account> {
  const account = await accounts.byId(userId);
  if (account?.state === "active") return account;
  throw accountGone();
}

/** For a caller whose account was disabled or deleted a moment ago. */
export const accountGone = () =>
  fail(ErrorReason.TOKEN_REVOKED, "the account is not there any more");

/** What a caller proves an account with, beside the access token. */
export interface Proof {
  readonly password: string | undefined;
  /** A code of purpose PROVE; empty for none. */
  readonly code: string;
  readonly address: string | undefined;
}

/**
 * Whether a caller owns the account, for what an access token alone must not do. With the password,
 * when the account has one; wrong ones count as at a login. Else by the code that is returned, which
 * the change has to redeem. Throws as `provePassword` does, and SMS_CODE_INVALID without a code.
 */
export async function requireProof(
  {
    columns,
    guard,
    passwords,
  }: { columns: Columns; guard: BruteForceGuard; passwords: Pick<Passwords, "verify"> },
  account: Account,
  { password, code, address }: Proof,
): Promise<GivenCode[]> {
  const { userId, userName } = account;
  if (account.passwordHash === null && password === undefined) {
    const phone = phoneOf(columns, account);
    if (code === "" || phone === undefined)
      throw fail(ErrorReason.SMS_CODE_INVALID, "proof_code: needed without a password");
    return [{ phone, purpose: SmsPurpose.PROVE, userId: String(userId), code }];
  }
  const text = "the password is wrong";
  if (password === undefined) throw fail(ErrorReason.CREDENTIALS_INVALID, text);
  await requirePassword({ guard, passwords }, { account, userName, password, address, text });
  return [];
}

/** Throws CREDENTIALS_INVALID when the account, read anew, has another password than was proved. */
export function requireSamePassword(before: Account, now: Account): void {
  if (now.passwordChangedAt?.getTime() === before.passwordChangedAt?.getTime()) return;
  throw fail(ErrorReason.CREDENTIALS_INVALID, "the password is wrong");
}
