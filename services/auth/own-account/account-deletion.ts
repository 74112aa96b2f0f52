import type { ServiceImpl } from "@connectrpc/connect";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import {
  accountForChange,
  lockRolesAndStates,
  requireOtherAdmin,
} from "../accounts/account-states.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { Audit } from "../accounts/audit.ts";
import type { BruteForceGuard } from "../credentials/brute-force-guard.ts";
import type { Passwords } from "../credentials/passwords.ts";
import { accountGone, accountOf, requireProof, requireSamePassword } from "../credentials/proof.ts";
import type { SmsCodes } from "../credentials/sms-codes.ts";
import type { Account, Prisma, Transaction } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { Logins } from "../logins/logins.ts";

interface Dependencies {
  accounts: Accounts;
  audit: Audit;
  clock: Clock;
  columns: ColumnEncryption;
  guard: BruteForceGuard;
  logins: Logins;
  passwords: Passwords;
  smsCodes: SmsCodes;
}

/** Deletes accounts at the request of their users. */
export function createAccountDeletion(
  d: Dependencies,
): Pick<ServiceImpl<typeof AuthService>, "deleteAccount"> {
  return {
    async deleteAccount(request, context) {
      const { userId } = userOf(context);
      const account = await accountOf(d, userId);
      const address = context.values.get(peerAddress);
      const [password] = request.password ? await d.passwords.decrypt(request.password) : [];
      const codes = await requireProof(d, account, {
        password,
        code: request.proofCode,
        address,
      });
      const ended = await d.smsCodes.redeem(codes, async (tx) => {
        await lockRolesAndStates(tx);
        const now = await accountForChange(tx, userId);
        if (now.state !== "active") throw accountGone();
        requireSamePassword(account, now);
        await requireOtherAdmin(tx, now);
        await erase(tx, now, new Date(d.clock.now()));
        // The audit entry has no address: a location is personal data too.
        const action = AuditAction.ACCOUNT_DELETED;
        await d.audit.write(tx, { actorId: userId, action, userId });
        return d.logins.end(tx, userId, { reason: "deleted" });
      });
      d.logins.notifyRevoked(ended);
      return {};
    },
  };
}

/**
 * Erases all personal data of an account. Its row stays, because the user's messages refer to it.
 * The name and the number become available.
 */
async function erase(tx: Transaction, { phoneIndex, userId }: Account, at: Date): Promise<void> {
  await tx.nameShape.deleteMany({ where: { userId } });
  await tx.account.update({ where: { userId }, data: erased(userId, at) });
  // The rows of the logins stay, so that their end is published; data about the devices is erased.
  await tx.login.updateMany({
    where: { userId },
    data: { deviceName: "", clientVersion: "", coarseAddress: "" },
  });
  await tx.qrLogin.deleteMany({ where: { userId } });
  await tx.securityNotice.deleteMany({ where: { userId } });
  await tx.registrationKey.deleteMany({ where: { userId } });
  const number = phoneIndex ? [{ phoneIndex }] : [];
  await tx.smsCode.deleteMany({ where: { OR: [{ userId }, ...number] } });
}

/** Values for every column except the id and the creation time. */
const erased = (userId: bigint, at: Date) =>
  ({
    userName: `deleted-${userId}`,
    // Unique: user names contain no colon.
    userNameKey: `deleted:${userId}`,
    displayName: "Deleted user",
    passwordHash: null,
    role: "user",
    state: "deleted",
    stateChangedAt: at,
    passwordChangedAt: at,
    phone: null,
    phoneIndex: null,
    avatar: "",
    gender: 0,
    birthday: null,
    location: null,
    signature: "",
    whoMayAddMe: 3,
    addQuestion: "",
    addAnswer: null,
    searchableByName: false,
    searchableByPhone: false,
    showBirthday: false,
    showLocation: false,
  }) satisfies Prisma.AccountUncheckedUpdateInput;
