import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { accountForChange } from "../accounts/account-states.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneColumns, phoneTaken } from "../accounts/phone-owner.ts";
import { accountGone, accountOf, requireProof, requireSamePassword } from "../credentials/proof.ts";
import type { AuthDependencies } from "../dependencies.ts";
import type { Revocation } from "../logins/revocation-notifier.ts";

/** What came of a number whose code was right. */
type Bound =
  | { readonly kind: "taken" }
  | { readonly kind: "same" }
  | { readonly kind: "bound"; readonly ended: readonly Revocation[] };

/** Binds phone numbers to accounts. */
export function createPhoneBinding(
  d: AuthDependencies,
): Pick<ServiceImpl<typeof AuthService>, "bindPhone"> {
  return {
    async bindPhone(request, context) {
      const { userId, loginId, deviceId } = userOf(context);
      const phone = normalizePhone(request.phone);
      const password = request.password && (await d.passwords.decrypt(request.password))[0];
      const account = await accountOf(d, userId);
      const address = context.values.get(peerAddress);
      const proof = await requireProof(d, account, { password, code: request.proofCode, address });

      const given = { phone, purpose: SmsPurpose.BIND, userId, code: request.code };
      const bound = await d.smsCodes.redeem([...proof, given], async (tx): Promise<Bound> => {
        const owner = await ownerOf(tx, d.columns, phone);
        // Ends with the code used up: there is nothing more to try it for.
        if (owner && owner.userId !== account.userId) return { kind: "taken" };
        const now = await accountForChange(tx, userId);
        if (now.state !== "active") throw accountGone();
        requireSamePassword(account, now);
        if (owner) return { kind: "same" };
        const data = phoneColumns(d.columns, phone, now.userId);
        await tx.account.update({ where: { userId: now.userId }, data });
        if (now.phone === null) return { kind: "bound", ended: [] };
        const which = { reason: "phone", exceptLoginId: loginId } as const;
        return { kind: "bound", ended: await d.logins.end(tx, userId, which) };
      });
      if (bound.kind === "taken") throw phoneTaken();
      if (bound.kind === "same") return {};
      d.logins.notifyRevoked(bound.ended);
      d.notices.tell({ userId, kind: SecurityNoticeKind.PHONE_CHANGED, deviceId });
      return {};
    },
  };
}
