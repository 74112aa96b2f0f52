import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Issuer } from "../logins/issuer.ts";
import type { Logins } from "../logins/logins.ts";
import type { AccessTokens } from "../logins/tokens.ts";

/** Exchanges a refresh token for new tokens. */
export function createRefresh({
  accessTokens,
  issuer,
  logins,
}: {
  accessTokens: Pick<AccessTokens, "expiryMs">;
  issuer: Pick<Issuer, "tokensOf">;
  logins: Pick<Logins, "rotate">;
}): Pick<ServiceImpl<typeof AuthService>, "refresh"> {
  return {
    async refresh({ refreshToken }, context) {
      const issuance = {
        accessExpiresAtMs: accessTokens.expiryMs(),
        coarseAddress: coarseAddress(context.values.get(peerAddress)),
      };
      const rotated = await logins.rotate(refreshToken, issuance, context.signal);
      if (rotated.kind === "opened") return { tokens: await issuer.tokensOf(rotated.opened) };
      throw fail(ErrorReason.REFRESH_TOKEN_INVALID, "the refresh token is not valid; log in");
    },
  };
}
