import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { coarseAddress } from "../logins/coarse-address.ts";

/** Keeps logins going, ends them, and shows the keys that their tokens are verified with. */
export function createRefreshing(
  d: AuthDependencies,
): Pick<ServiceImpl<typeof AuthService>, "refresh" | "logout" | "getJwks"> {
  return {
    async getJwks() {
      // Who asks may have seen a token of a key that another instance has just made. While the
      // database is away the keys at hand are those there are.
      await d.keyring
        .reloadIfChanged()
        .catch((err: unknown) => d.log.warn({ event: "keys_not_looked_at", err }));
      return { jwksJson: d.accessTokens.jwksJson };
    },

    async refresh({ refreshToken }, context) {
      const rotated = await d.logins.rotate(refreshToken, {
        accessExpiresAtMs: d.accessTokens.expiryMs(),
        coarseAddress: coarseAddress(context.values.get(peerAddress)),
      });
      if (rotated.kind === "opened") return { tokens: await d.issuer.tokensOf(rotated.opened) };
      if (rotated.kind === "reused") {
        const { userId, deviceId, deviceName } = rotated.login;
        const kind = SecurityNoticeKind.REFRESH_TOKEN_REUSED;
        d.notices.tell({ userId: String(userId), kind, deviceId, deviceName });
      }
      throw fail(ErrorReason.REFRESH_TOKEN_INVALID, "the refresh token is not valid; log in");
    },

    async logout(_request, context) {
      await d.logins.revoke(userOf(context).loginId, "logout");
      return {};
    },
  };
}
