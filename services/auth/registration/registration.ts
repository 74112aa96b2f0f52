import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
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

/** The display name of an account: the wanted name, trimmed; the user name when that is empty. */
export const displayNameOf = (wanted: string, userName: string): string =>
  wanted.trim() || userName;
