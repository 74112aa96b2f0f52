import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { type Accounts, userOfAccount } from "./accounts/accounts.ts";

/** The methods of UserService that return users by id or name. */
export function createUser({
  accounts,
}: {
  accounts: Pick<Accounts, "byId" | "byIds" | "byName">;
}): Pick<ServiceImpl<typeof UserService>, "getUser" | "batchGetUsers"> {
  return {
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
