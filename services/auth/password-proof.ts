import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Account } from "../../gen/prisma/client.ts";
import { fail } from "../../platform/errors.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { provePassword } from "./guarded-password.ts";

/** The account behind a caller's token. Throws TOKEN_REVOKED when it is no more. */
export async function accountOf(
  { accounts }: Pick<AuthDependencies, "accounts">,
  userId: string,
): Promise<Account> {
  const account = await accounts.byId(userId);
  if (account?.state === "active") return account;
  throw accountGone();
}

/** For a caller whose account was disabled or deleted a moment ago. */
export const accountGone = () =>
  fail(ErrorReason.TOKEN_REVOKED, "the account is not there any more");

/**
 * Proves, when the account has a password, that the caller knows it; wrong ones count as at a login.
 * Throws as `provePassword` does.
 */
export async function requirePassword(
  d: Pick<AuthDependencies, "guard" | "passwords">,
  account: Account,
  { given, address }: { given: string | undefined; address: string | undefined },
): Promise<void> {
  const text = "the password is wrong";
  if (account.passwordHash === null && given === undefined) return;
  if (given === undefined) throw fail(ErrorReason.CREDENTIALS_INVALID, text);
  const { userName } = account;
  await provePassword(d, { account, userName, password: given, address, text });
}
