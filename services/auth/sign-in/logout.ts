import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import type { Logins } from "../logins/logins.ts";

/** Ends the caller's login. */
export function createLogout({
  logins,
}: {
  logins: Pick<Logins, "revoke">;
}): Pick<ServiceImpl<typeof AuthService>, "logout"> {
  return {
    async logout(_request, context) {
      const { userId, loginId } = userOf(context);
      await logins.revoke(userId, loginId, "logout");
      return {};
    },
  };
}
