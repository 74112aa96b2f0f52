import type { ServiceImpl } from "@connectrpc/connect";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";

/** Makes a login by QR code independent: it no longer ends with the login that confirmed it. */
export function createQrKeeping({
  notices,
  provenChanges,
}: {
  notices: SecurityNotices;
  provenChanges: ProvenChanges;
}): Pick<ServiceImpl<typeof AuthService>, "keepQrLogin"> {
  return {
    async keepQrLogin({ proof }, context) {
      const { userId, loginId } = userOf(context);
      const requested = { proof, accepts: "credential" } as const;
      const notice = await provenChanges.run(context, requested, async (tx) => {
        const where = { loginId, confirmedBy: { not: null } };
        const { count } = await tx.login.updateMany({ where, data: { confirmedBy: null } });
        if (count === 0) return undefined;
        const kind = SecurityNoticeKind.QR_LOGIN_KEPT;
        const network = coarseAddress(context.values.get(peerAddress));
        return notices.record(tx, { userId, kind, loginId, coarseAddress: network });
      });
      if (notice) notices.send(notice);
      return {};
    },
  };
}
