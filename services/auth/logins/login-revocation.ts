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
  | "deleted"
  | "confirmer";

/** Which logins of a user to end, and why. */
export interface RevocationScope {
  reason: RevokedReason;
  /**
   * The login whose user proved the change: it does not end. If the login that confirmed it ends, it
   * stops depending on that one.
   */
  exceptLoginId?: string;
  /** Only the logins of this device. */
  deviceId?: string;
}

/**
 * Ends logins in the database, each with the logins that it confirmed by QR code. The caller holds the
 * lock of the account, so that no login is confirmed meanwhile.
 */
export interface LoginRevocation {
  /** Ends the matching logins that have not ended yet. */
  revokeMatching(
    tx: Transaction,
    where: Prisma.LoginWhereInput,
    reason: RevokedReason,
  ): Promise<Revocation[]>;
  /** Ends the logins that ended logins confirmed, and those that these confirmed. */
  revokeConfirmedBy(
    tx: Transaction,
    ended: readonly Pick<Revocation, "loginId">[],
  ): Promise<Revocation[]>;
  /** Ends all logins of a user but the `kept` that were seen most recently. */
  revokeOldest(tx: Transaction, userId: bigint, kept: number): Promise<Revocation[]>;
  /** See Logins.end. */
  revokeOfUser(tx: Transaction, userId: string, scope: RevocationScope): Promise<Revocation[]>;
}

export function createLoginRevocation({ clock }: { clock: Clock }): LoginRevocation {
  async function revokeOnly(
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

  /** One statement per link of the chain: at most as many as the user has logins. */
  async function revokeConfirmedBy(
    tx: Transaction,
    ended: readonly Pick<Revocation, "loginId">[],
    exceptLoginId?: string,
  ): Promise<Revocation[]> {
    const all: Revocation[] = [];
    for (let last = ended; last.length > 0; ) {
      const confirmedBy = { in: last.map(({ loginId }) => loginId) };
      const except = exceptLoginId !== undefined && { loginId: { not: exceptLoginId } };
      const next = await revokeOnly(tx, { confirmedBy, ...except }, "confirmer");
      all.push(...next);
      last = next;
    }
    return all;
  }

  async function revokeMatching(
    tx: Transaction,
    where: Prisma.LoginWhereInput,
    reason: RevokedReason,
    exceptLoginId?: string,
  ): Promise<Revocation[]> {
    const ended = await revokeOnly(tx, where, reason);
    return [...ended, ...(await revokeConfirmedBy(tx, ended, exceptLoginId))];
  }

  return {
    revokeMatching,
    revokeConfirmedBy,
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
      const ended = await revokeMatching(tx, { ...ofUser, ...except }, reason, exceptLoginId);
      if (exceptLoginId !== undefined) {
        const confirmedBy = { in: ended.map(({ loginId }) => loginId) };
        await tx.login.updateMany({
          where: { loginId: exceptLoginId, confirmedBy },
          data: { confirmedBy: null },
        });
      }
      return ended;
    },
  };
}

export const revocationOf = (login: Pick<Login, "loginId" | "accessExpiresAt">): Revocation => ({
  loginId: login.loginId,
  accessExpiresAtMs: login.accessExpiresAt.getTime(),
});
