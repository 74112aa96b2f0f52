import type { ServiceImpl } from "@connectrpc/connect";
import { AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import type { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import {
  accountForChange,
  lockRolesAndStates,
  requireOtherAdmin,
} from "../accounts/account-states.ts";
import { accountGone, accountOf, requireProof, requireSamePassword } from "../credentials/proof.ts";
import type { Account, Prisma, Transaction } from "../database.ts";
import type { AuthDependencies } from "../dependencies.ts";

/** Deletes accounts at the wish of their users. */
export function createAccountDeletion(
  d: AuthDependencies,
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
        // Without an address: where somebody was is personal too.
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
 * Takes everything personal out of the account's rows. The row stays, for what the user wrote; the
 * name and the number are free again.
 */
async function erase(tx: Transaction, { phoneIndex, userId }: Account, at: Date): Promise<void> {
  await tx.nameShape.deleteMany({ where: { userId } });
  await tx.account.update({ where: { userId }, data: erased(userId, at) });
  // The rows stay until nobody needs to be told of their end; what they say of a device goes at once.
  await tx.login.updateMany({
    where: { userId },
    data: { deviceName: "", clientVersion: "", coarseAddress: "" },
  });
  await tx.qrLogin.deleteMany({ where: { userId } });
  const number = phoneIndex ? [{ phoneIndex }] : [];
  await tx.smsCode.deleteMany({ where: { OR: [{ userId }, ...number] } });
}

/** Every column of an account but its id and the time that it was made. */
const erased = (userId: bigint, at: Date) =>
  ({
    userName: `deleted-${userId}`,
    // No name holds a colon: nobody can have taken it before.
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
