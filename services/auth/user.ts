import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { userOfAccount } from "./accounts/accounts.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { createProfile } from "./own-account/profile.ts";
import { createSearch } from "./own-account/search.ts";

/** Looks users up. */
export function createUser(d: AuthDependencies): ServiceImpl<typeof UserService> {
  const { accounts } = d;
  return {
    ...createProfile(d),
    ...createSearch(d),
    async getUser({ key }) {
      const account =
        key.case === "userId"
          ? await accounts.byId(key.value)
          : await accounts.byName(key.value ?? "");
      if (!account) throw fail(ErrorReason.USER_NOT_FOUND, "there is no such user");
      return { user: userOfAccount(account) };
    },
    async batchGetUsers({ userIds }) {
      return { users: (await accounts.byIds(userIds)).map(userOfAccount) };
    },
  };
}
