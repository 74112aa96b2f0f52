import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Accounts } from "../accounts/accounts.ts";
import { normalizePhone } from "../accounts/phone.ts";
import { ownerOf, phoneOf } from "../accounts/phone-owner.ts";
import type { BruteForceGuard } from "../credentials/brute-force-guard.ts";
import type { PasswordPolicy } from "../credentials/password-policy.ts";
import type { Passwords } from "../credentials/passwords.ts";
import { accountOf, requireProof } from "../credentials/proof.ts";
import type { SmsCodes } from "../credentials/sms-codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { Logins } from "../logins/logins.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";

interface Dependencies {
  accounts: Accounts;
  clock: Clock;
  columns: ColumnEncryption;
  guard: BruteForceGuard;
  logins: Logins;
  notices: SecurityNotices;
  passwordPolicy: PasswordPolicy;
  passwords: Passwords;
  smsCodes: SmsCodes;
}

/** Changes passwords, and resets them with a code sent by SMS. */
export function createPasswordChange(
  d: Dependencies,
): Pick<ServiceImpl<typeof AuthService>, "changePassword" | "resetPassword"> {
  const { requireStrong, requireStrongInTransaction } = d.passwordPolicy;
  const kind = SecurityNoticeKind.PASSWORD_CHANGED;
  const newPasswordColumns = async (password: string) => ({
    passwordHash: await d.passwords.hash(password),
    passwordChangedAt: new Date(d.clock.now()),
  });

  return {
    async changePassword({ oldPassword, newPassword, proofCode: code }, context) {
      const { userId, loginId } = userOf(context);
      const [newPlaintext, password] = oldPassword
        ? await d.passwords.decrypt(newPassword, oldPassword)
        : await d.passwords.decrypt(newPassword);
      const account = await accountOf(d, userId);
      // Check the new password before the proof: a weak one must not consume the code.
      const number = phoneOf(d.columns, account) ?? "";
      await requireStrong(newPlaintext, account.userName, account.displayName, number);
      const address = context.values.get(peerAddress);
      const codes = await requireProof(d, account, { password, code, address });
      const data = await newPasswordColumns(newPlaintext);
      const { ended, notice } = await d.smsCodes.redeem(codes, async (tx) => {
        const { count } = await tx.account.updateMany({
          // Optimistic lock: a concurrent change of the password wins the race.
          where: { userId: account.userId, passwordHash: account.passwordHash, state: "active" },
          data,
        });
        if (count === 0) throw fail(ErrorReason.CREDENTIALS_INVALID, "the password is wrong");
        const scope = { reason: "password", exceptLoginId: loginId } as const;
        const event = { userId, kind, loginId, coarseAddress: coarseAddress(address) };
        return {
          ended: await d.logins.end(tx, userId, scope),
          notice: await d.notices.record(tx, event),
        };
      });
      d.logins.notifyRevoked(ended);
      d.notices.send(notice);
      return {};
    },

    async resetPassword({ phone: written, code, newPassword }, { values }) {
      const phone = normalizePhone(written);
      const [newPlaintext] = await d.passwords.decrypt(newPassword);
      // Check the new password before the code: a weak one must not consume it.
      await requireStrong(newPlaintext, phone);
      const given = { phone, purpose: SmsPurpose.RESET, code };
      const reset = await d.smsCodes.redeem([given], async (tx) => {
        const owner = await ownerOf(tx, d.columns, phone);
        // The code is consumed although no account has the number, because it has no other use.
        if (!owner) return undefined;
        await requireStrongInTransaction(newPlaintext, owner.userName, owner.displayName);
        await tx.account.update({
          where: { userId: owner.userId },
          data: await newPasswordColumns(newPlaintext),
        });
        const userId = String(owner.userId);
        const event = { userId, kind, coarseAddress: coarseAddress(values.get(peerAddress)) };
        return {
          ended: await d.logins.end(tx, userId, { reason: "password" }),
          notice: await d.notices.record(tx, event),
        };
      });
      if (!reset) throw fail(ErrorReason.SMS_CODE_INVALID, "the code is not valid");
      d.logins.notifyRevoked(reset.ended);
      d.notices.send(reset.notice);
      return {};
    },
  };
}
