import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { SessionService } from "../../gen/lucky/internal/session/v1/session_pb.js";
import { fail } from "../../platform/errors.ts";
import type { AuthDependencies } from "./dependencies.ts";

const MAX_USERS = 1_000;

/** Tells the other services which logins ended and which users exist. */
export function createSession({
  accounts,
  devicePolicy,
  logins,
}: Pick<AuthDependencies, "accounts" | "devicePolicy" | "logins">): ServiceImpl<
  typeof SessionService
> {
  return {
    async getDevicePolicy() {
      return { rules: [...(await devicePolicy.rules())] };
    },
    async listRevocations({ cursor }) {
      const { revocations, nextCursorMs } = await logins.revokedSince(Number(cursor));
      return {
        revocations: revocations.map(({ loginId, accessExpiresAtMs }) => ({
          loginId,
          expiresAtMs: BigInt(accessExpiresAtMs),
        })),
        nextCursor: BigInt(nextCursorMs),
      };
    },
    async checkUsers({ userIds }) {
      if (userIds.length > MAX_USERS)
        throw fail(ErrorReason.INVALID_ARGUMENT, `user_ids: at most ${MAX_USERS}`);
      return { userIds: await accounts.existing(userIds) };
    },
  };
}
