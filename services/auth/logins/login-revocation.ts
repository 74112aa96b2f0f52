import type { Clock } from "#platform/clock.ts";
import { lockAccount } from "../accounts/account-states.ts";
import type { Login, Prisma, Transaction } from "../database.ts";
import type { Revocation } from "./revocation-notifier.ts";

/** Why a login ended. */
export type RevokedReason =
  | "logout"
  | "reuse"
  | "replaced"
  | "device"
  | "password"
  | "phone"
  | "disabled"
  | "role"
  | "forced"
  | "deleted";

/** Which logins of a user to end, and why. */
export interface RevocationScope {
  reason: RevokedReason;
  /** A login that does not end. */
  exceptLoginId?: string;
  /** Only the logins of this device. */
  deviceId?: string;
}

/** Ends logins in the database. */
export interface LoginRevocation {
  /** Ends the matching logins that have not ended yet. */
  revokeMatching(
    tx: Transaction,
    where: Prisma.LoginWhereInput,
    reason: RevokedReason,
  ): Promise<Revocation[]>;
  /** Ends all logins of a user but the `kept` that were seen most recently. */
  revokeOldest(tx: Transaction, userId: bigint, kept: number): Promise<Revocation[]>;
  /** See Logins.end. */
  revokeOfUser(tx: Transaction, userId: string, scope: RevocationScope): Promise<Revocation[]>;
}

export function createLoginRevocation({ clock }: { clock: Clock }): LoginRevocation {
  async function revokeMatching(
    tx: Transaction,
    where: Prisma.LoginWhereInput,
    revokedReason: RevokedReason,
  ): Promise<Revocation[]> {
    const ended = await tx.login.updateManyAndReturn({
      where: { ...where, revokedAt: null },
      data: { revokedAt: new Date(clock.now()), revokedReason },
      select: { loginId: true, accessExpiresAt: true },
    });
    return ended.map(revocationOf);
  }

  return {
    revokeMatching,
    async revokeOldest(tx, userId, kept) {
      const oldest = await tx.login.findMany({
        where: { userId, revokedAt: null },
        orderBy: [{ lastSeenAt: "desc" }, { loginId: "asc" }],
        skip: kept,
        select: { loginId: true },
      });
      if (oldest.length === 0) return [];
      const loginId = { in: oldest.map((login) => login.loginId) };
      return revokeMatching(tx, { loginId }, "replaced");
    },
    async revokeOfUser(tx, userId, { reason, exceptLoginId, deviceId }) {
      const ofUser = { userId: BigInt(userId), ...(deviceId !== undefined && { deviceId }) };
      const except = exceptLoginId !== undefined && { loginId: { not: exceptLoginId } };
      await lockAccount(tx, BigInt(userId));
      // Otherwise a confirmed QR login with unfetched tokens would become a login after this
      // change.
      await tx.qrLogin.updateMany({
        where: { ...ofUser, state: "confirmed" },
        data: { state: "refused" },
      });
      return revokeMatching(tx, { ...ofUser, ...except }, reason);
    },
  };
}

export const revocationOf = (login: Pick<Login, "loginId" | "accessExpiresAt">): Revocation => ({
  loginId: login.loginId,
  accessExpiresAtMs: login.accessExpiresAt.getTime(),
});
