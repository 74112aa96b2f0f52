import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneOf } from "../accounts/phone-owner.ts";
import { accountOf } from "../credentials/proof.ts";
import { type SmsCodes, smsCodeInvalid } from "../credentials/sms-codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { Issuer } from "../logins/issuer.ts";

/** Purposes of codes that only the logged-in caller can use. */
const CALLER_PURPOSES: ReadonlySet<SmsPurpose> = new Set([SmsPurpose.BIND, SmsPurpose.PROVE]);

/** Sends SMS codes and logs devices in with them. */
export function createSmsLogin({
  accounts,
  columns,
  issuer,
  smsCodes,
}: {
  accounts: Pick<Accounts, "byId">;
  columns: ColumnEncryption;
  issuer: Pick<Issuer, "logIn">;
  smsCodes: Pick<SmsCodes, "redeem" | "send">;
}): Pick<ServiceImpl<typeof AuthService>, "sendSmsCode" | "loginBySmsCode"> {
  /** Throws PHONE_INVALID for another number: a code sent to it would prove nothing. */
  async function requireOwn(userId: string, phone: string): Promise<void> {
    if (phoneOf(columns, await accountOf({ accounts }, userId)) === phone) return;
    throw fail(ErrorReason.PHONE_INVALID, "phone: not the number of your account");
  }

  return {
    async sendSmsCode({ phone: written, purpose }, context) {
      const phone = normalizePhone(written);
      const userId = CALLER_PURPOSES.has(purpose) ? personOf(context) : undefined;
      if (userId && purpose === SmsPurpose.PROVE) await requireOwn(userId, phone);
      const address = context.values.get(peerAddress);
      const sent = await smsCodes.send({ phone, purpose, userId }, address);
      return {
        expiresAtMs: BigInt(sent.expiresAtMs),
        resendAfterMs: BigInt(sent.resendAfterMs),
      };
    },

    async loginBySmsCode({ phone: written, code, device }, context) {
      const phone = normalizePhone(written);
      // The code is redeemed first: only a caller with the right code may learn of the account.
      const given = { phone, purpose: SmsPurpose.LOGIN, code };
      const account = await smsCodes.redeem([given], (tx) => ownerOf(tx, columns, phone));
      if (!account) throw smsCodeInvalid();
      const address = context.values.get(peerAddress);
      return issuer.logIn(account, { device, method: "sms", address });
    },
  };
}

/** The id of the caller. Throws PERMISSION_DENIED for a bot. */
function personOf(context: HandlerContext): string {
  const { userId, role } = userOf(context);
  if (role !== "bot") return userId;
  throw fail(ErrorReason.PERMISSION_DENIED, "bots have no phone number");
}
