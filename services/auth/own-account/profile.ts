import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { myProfileOf, profileOf } from "../accounts/shown-profile.ts";
import type { Account } from "../database.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { profileChange } from "./profile-change.ts";

/** What users tell of themselves. */
export function createProfile({
  accounts,
  columns,
  database,
}: Pick<AuthDependencies, "accounts" | "columns" | "database">): Pick<
  ServiceImpl<typeof UserService>,
  "getProfile" | "batchGetProfiles" | "getMyProfile" | "updateProfile"
> {
  return {
    async getProfile({ userId }) {
      const account = await accounts.byId(userId);
      if (!account) throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      return { profile: profileOf(account, columns) };
    },
    async batchGetProfiles({ userIds }) {
      const found = await accounts.byIds(userIds);
      return { profiles: found.map((account) => profileOf(account, columns)) };
    },
    async getMyProfile(_request, context) {
      const account = await accounts.byId(userOf(context).userId);
      return { profile: myProfileOf(present(account), columns) };
    },
    async updateProfile(request, context) {
      const userId = BigInt(userOf(context).userId);
      const changed = await database.$transaction(async (tx) => {
        // Held until the end: the account may be deleted, or changed from another device, meanwhile.
        await tx.$executeRaw`SELECT 1 FROM auth.account WHERE user_id = ${userId} FOR NO KEY UPDATE`;
        const account = present(await tx.account.findUnique({ where: { userId } }));
        const data = profileChange(request, account, columns);
        return tx.account.update({ where: { userId }, data });
      });
      return { profile: myProfileOf(changed, columns) };
    },
  };
}

/** The caller's account. Its token may outlive it for a moment. */
function present(account: Account | null | undefined): Account {
  if (account?.state === "active") return account;
  throw fail(ErrorReason.TOKEN_REVOKED, "the account is not active any more");
}
