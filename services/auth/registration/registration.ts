import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import { requirePrintable } from "#platform/validation/printable.ts";
import { type Accounts, userOfAccount } from "../accounts/accounts.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import type { UserIds } from "../keys/user-ids.ts";

/** Registers accounts with a user name and a password. */
export function createRegistration({
  accounts,
  clock,
  passwordPolicy,
  passwords,
  userIds,
}: {
  accounts: Pick<Accounts, "create">;
  clock: Clock;
  passwordPolicy: PasswordPolicy;
  passwords: Pick<Passwords, "decrypt" | "hash">;
  userIds: UserIds;
}): Pick<ServiceImpl<typeof AuthService>, "register"> {
  return {
    async register(request) {
      const { userName } = request;
      const [password] = await passwords.decrypt(request.password);
      await passwordPolicy.requireStrong(password, userName, request.displayName);
      const account = await accounts.create({
        userId: await userIds.next(),
        userName,
        displayName: displayNameOf(request.displayName, userName),
        passwordHash: await passwords.hash(password),
        createdAt: new Date(clock.now()),
      });
      return { user: userOfAccount(account) };
    },
  };
}

/**
 * The display name of a new account: the wanted name, trimmed. If that contains only blanks and
 * invisible characters, the user name is used instead. Throws INVALID_ARGUMENT for control
 * characters.
 */
export function displayNameOf(wanted: string, userName: string): string {
  requirePrintable("display_name", wanted);
  const visible = /[^\s\p{Default_Ignorable_Code_Point}]/u.test(wanted);
  return visible ? wanted.trim() : userName;
}
