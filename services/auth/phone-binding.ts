import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "../../gen/lucky/auth/v1/auth_pb.js";
import { SecurityNoticeKind } from "../../gen/lucky/frame/v1/frame_pb.js";
import { userOf } from "../../platform/caller.ts";
import { peerAddress } from "../../platform/rpc/peer.ts";
import type { AuthDependencies } from "./dependencies.ts";
import { accountGone, accountOf, requirePassword } from "./password-proof.ts";
import { normalizePhone } from "./phone.ts";
import { ownerOf, phoneColumns, phoneTaken } from "./phone-owner.ts";

/** Binds phone numbers to accounts. */
export function createPhoneBinding(
  d: AuthDependencies,
): Pick<ServiceImpl<typeof AuthService>, "bindPhone"> {
  return {
    async bindPhone(request, context) {
      const { userId, deviceId } = userOf(context);
      const phone = normalizePhone(request.phone);
      const given = request.password && (await d.passwords.decrypt(request.password))[0];
      const account = await accountOf(d, userId);
      await requirePassword(d, account, { given, address: context.values.get(peerAddress) });

      const use = { phone, purpose: SmsPurpose.BIND, userId };
      const bound = await d.smsCodes.redeem(use, request.code, async (tx) => {
        const owner = await ownerOf(tx, d.columns, phone);
        // Ends with the code used up: there is nothing more to try it for.
        if (owner && owner.userId !== account.userId) return false;
        const { count } = await tx.account.updateMany({
          where: { userId: account.userId, state: "active" },
          data: phoneColumns(d.columns, phone, account.userId),
        });
        if (count === 0) throw accountGone();
        return true;
      });
      if (!bound) throw phoneTaken();
      d.notices.tell({ userId, kind: SecurityNoticeKind.PHONE_CHANGED, deviceId });
      return {};
    },
  };
}
