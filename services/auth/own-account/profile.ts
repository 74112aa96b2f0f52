import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { lockAccount } from "../accounts/account-states.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { myProfileOf, profileOf } from "../accounts/shown-profile.ts";
import type { Account, Database } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { profileChange } from "./profile-change.ts";

/** Reads and updates profiles. */
export function createProfile({
  accounts,
  columns,
  database,
}: {
  accounts: Accounts;
  columns: ColumnEncryption;
  database: Database;
}): Pick<
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
      return { profile: myProfileOf(requireActive(account), columns) };
    },
    async updateProfile(request, context) {
      const userId = BigInt(userOf(context).userId);
      const changed = await database.$transaction(async (tx) => {
        // The lock prevents races with a deletion, or with a change from another device.
        await lockAccount(tx, userId);
        const account = requireActive(await tx.account.findUnique({ where: { userId } }));
        const data = profileChange(request, account, columns);
        return tx.account.update({ where: { userId }, data });
      });
      return { profile: myProfileOf(changed, columns) };
    },
  };
}

/** Throws TOKEN_REVOKED: a token may stay valid for a moment after its account was disabled. */
function requireActive(account: Account | null | undefined): Account {
  if (account?.state === "active") return account;
  throw fail(ErrorReason.TOKEN_REVOKED, "the account is no longer active");
}
