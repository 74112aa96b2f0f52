import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { accountForChange } from "../accounts/account-states.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneColumns, phoneTaken } from "../accounts/phone-owner.ts";
import type { BruteForceGuard } from "../credentials/brute-force-guard.ts";
import type { Passwords } from "../credentials/passwords.ts";
import { accountGone, accountOf, requireProof, requireSamePassword } from "../credentials/proof.ts";
import type { SmsCodes } from "../credentials/sms-codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Logins } from "../logins/logins.ts";
import type { Revocation } from "../logins/revocation-notifier.ts";
import type { SecurityNotices, StoredNotice } from "../notices/security-notices.ts";

interface Dependencies {
  accounts: Accounts;
  columns: ColumnEncryption;
  guard: BruteForceGuard;
  logins: Logins;
  notices: SecurityNotices;
  passwords: Passwords;
  smsCodes: SmsCodes;
}

/** The outcome for a number that was proved with a code. */
type Bound =
  | { readonly kind: "taken" }
  | { readonly kind: "same" }
  | {
      readonly kind: "bound";
      readonly ended: readonly Revocation[];
      readonly notice: StoredNotice;
    };

/** Binds phone numbers to accounts. */
export function createPhoneBinding(
  d: Dependencies,
): Pick<ServiceImpl<typeof AuthService>, "bindPhone"> {
  return {
    async bindPhone(request, context) {
      const { userId, loginId } = userOf(context);
      const phone = normalizePhone(request.phone);
      const password = request.password && (await d.passwords.decrypt(request.password))[0];
      const account = await accountOf(d, userId);
      const address = context.values.get(peerAddress);
      const proof = await requireProof(d, account, { password, code: request.proofCode, address });

      const given = { phone, purpose: SmsPurpose.BIND, userId, code: request.code };
      const bound = await d.smsCodes.redeem([...proof, given], async (tx): Promise<Bound> => {
        const owner = await ownerOf(tx, d.columns, phone);
        // The code is consumed although the number is taken, because it has no other use.
        if (owner && owner.userId !== account.userId) return { kind: "taken" };
        const now = await accountForChange(tx, userId);
        if (now.state !== "active") throw accountGone();
        requireSamePassword(account, now);
        if (owner) return { kind: "same" };
        const data = phoneColumns(d.columns, phone, now.userId);
        await tx.account.update({ where: { userId: now.userId }, data });
        const kind = SecurityNoticeKind.PHONE_CHANGED;
        const event = { userId, kind, loginId, coarseAddress: coarseAddress(address) };
        const notice = await d.notices.record(tx, event);
        if (now.phone === null) return { kind: "bound", ended: [], notice };
        const scope = { reason: "phone", exceptLoginId: loginId } as const;
        return { kind: "bound", ended: await d.logins.end(tx, userId, scope), notice };
      });
      if (bound.kind === "taken") throw phoneTaken();
      if (bound.kind === "same") return {};
      d.logins.notifyRevoked(bound.ended);
      d.notices.send(bound.notice);
      return {};
    },
  };
}
