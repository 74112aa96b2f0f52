import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UpdateProfileRequest, UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { myProfileOf, profileOf } from "../accounts/shown-profile.ts";
import type { Account, Database } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { profileChange } from "./profile-change.ts";

/** Attempts at a change of a profile while other devices change the same fields. */
const MAX_ATTEMPTS = 10;

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
  /**
   * Changes an account in one statement. A transaction with a lock would hold a connection of the
   * pool for five round trips, and a second change would hold another one while it waits. The
   * conditions of the statement are what `profileChange` depends on; when they no longer hold, the
   * change is computed again.
   */
  async function change(userId: bigint, request: UpdateProfileRequest): Promise<Account> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const account = requireActive(await database.account.findUnique({ where: { userId } }));
      const { userName, whoMayAddMe, addQuestion } = account;
      const [changed] = await database.account.updateManyAndReturn({
        where: { userId, state: "active", userName, whoMayAddMe, addQuestion },
        data: profileChange(request, account, columns),
      });
      if (changed) return changed;
    }
    const retryAfterMs = 100;
    throw fail(ErrorReason.UNAVAILABLE, "other changes of the profile came first", {
      retryAfterMs,
    });
  }

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
      const changed = await change(BigInt(userOf(context).userId), request);
      return { profile: myProfileOf(changed, columns) };
    },
  };
}

/** Throws TOKEN_REVOKED: a token may stay valid for a moment after its account was disabled. */
function requireActive(account: Account | null | undefined): Account {
  if (account?.state === "active") return account;
  throw fail(ErrorReason.TOKEN_REVOKED, "the account is no longer active");
}
