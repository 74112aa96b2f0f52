import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { requirePrintable } from "#platform/printable.ts";
import { userOfAccount } from "../accounts/accounts.ts";
import { createPasswordPolicy } from "../credentials/password-policy.ts";
import type { AuthDependencies } from "../dependencies.ts";

/** Makes accounts for a user name and a password. */
export function createRegistration(
  d: AuthDependencies,
): Pick<ServiceImpl<typeof AuthService>, "register"> {
  const { requireStrong } = createPasswordPolicy(d.config);
  return {
    async register(request) {
      const { userName } = request;
      const [password] = await d.passwords.decrypt(request.password);
      requireStrong(password, userName, request.displayName);
      const account = await d.accounts.create({
        userId: BigInt(d.ids.next()),
        userName,
        displayName: displayNameOf(request.displayName, userName),
        passwordHash: await d.passwords.hash(password),
        createdAt: new Date(d.clock.now()),
      });
      return { user: userOfAccount(account) };
    },
  };
}

/** What people see; a name of nothing but blanks and what nobody sees counts as empty. */
export function displayNameOf(wanted: string, userName: string): string {
  requirePrintable("display_name", wanted);
  const seen = /[^\s\p{Default_Ignorable_Code_Point}]/u.test(wanted);
  return seen ? wanted.trim() : userName;
}
