import { randomUUID } from "node:crypto";
import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Database, Login, Prisma, RefreshToken, Transaction } from "../database.ts";
import type { Revocation, RevocationNotifier } from "./revocation-notifier.ts";
import { hashRefreshToken, makeRefreshToken } from "./tokens.ts";

/** A login that has just been given a refresh token. */
export interface Opened {
  login: Login;
  account: Account;
  refreshToken: string;
  refreshExpiresAtMs: number;
}

/** What became of a refresh token that was presented. */
export type Rotated =
  | { kind: "opened"; opened: Opened }
  /** Unknown, expired, of a login that ended, or used only a moment ago. */
  | { kind: "refused" }
  /** Used before: one of the two who presented it stole it. The login has ended. */
  | { kind: "reused"; login: Login };

/** How a device proved itself. */
export type LoginMethod = "password" | "sms" | "qr";

/** When and from where a device is seen. */
export interface Issuance {
  accessExpiresAtMs: number;
  /** Where from, shortened; empty when unknown. */
  coarseAddress: string;
}

/** How a login begins. */
export interface NewLogin extends Issuance {
  method: LoginMethod;
}

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

/** Which logins of a user end, and why. */
export interface RevocationScope {
  reason: RevokedReason;
  /** This one stays. */
  exceptLoginId?: string;
  /** Only those of this device. */
  deviceId?: string;
}

/** Logins of devices and their refresh tokens. Times are milliseconds since the Unix epoch. */
export interface Logins {
  /**
   * Begins a login; an older one of the same user on the same device ends. Throws ACCOUNT_DISABLED,
   * CREDENTIALS_INVALID, SMS_CODE_INVALID or QR_LOGIN_STEP when the account was disabled, or what let
   * the device in, password or number, was changed since the account was read: such a change ends all
   * logins, and misses none.
   */
  open(account: Account, device: Device, how: NewLogin): Promise<Opened>;
  /**
   * Exchanges a refresh token for the next one. A used one ends its login, unless the exchange was
   * only a moment ago and what it gave was not used yet: then the answer may have been lost.
   */
  rotate(refreshToken: string, seen: Issuance): Promise<Rotated>;
  /** Ends a login. Idempotent. */
  revoke(loginId: string, reason: RevokedReason): Promise<void>;
  /**
   * Ends all logins of a user that are not over, or those of one device, or all but one, and QR
   * logins whose tokens were not fetched, in the transaction of the change that is the reason: the
   * one is never without the other. Who begins a login at the same time is before it, and ended, or
   * after it, and sees the change. After the commit the caller passes what it returns to `tell`.
   */
  end(tx: Transaction, userId: string, which: RevocationScope): Promise<Revocation[]>;
  /** Tells at once of logins whose end is committed. Who is not told learns it by asking. */
  notifyRevoked(ended: readonly Revocation[]): void;
  /** Ends logins and tells so, where that is the whole change. Returns how many. */
  revokeAll(userId: string, which: RevocationScope): Promise<number>;
  /** Deletes what can never be used again. */
  cleanUp(): Promise<void>;
}

export function createLogins(options: {
  config: AuthConfig;
  database: Database;
  clock: Clock;
  log: Log;
  /** Whom to tell at once. */
  notifier: RevocationNotifier;
}): Logins {
  const { config, database, clock, log, notifier } = options;

  async function addToken(tx: Transaction, loginId: string, now: Date) {
    const refreshToken = makeRefreshToken();
    const tokenHash = hashRefreshToken(refreshToken);
    const expiresAt = new Date(now.getTime() + config.refreshTokenSeconds * 1_000);
    await tx.refreshToken.create({ data: { tokenHash, loginId, createdAt: now, expiresAt } });
    return { tokenHash, given: { refreshToken, refreshExpiresAtMs: expiresAt.getTime() } };
  }

  const endedLogin = { loginId: true, accessExpiresAt: true };

  /** Ends those of `where` that are not over. */
  async function endThose(
    tx: Transaction,
    where: Prisma.LoginWhereInput,
    revokedReason: RevokedReason,
  ): Promise<Revocation[]> {
    const ended = await tx.login.updateManyAndReturn({
      where: { ...where, revokedAt: null },
      data: { revokedAt: new Date(clock.now()), revokedReason },
      select: endedLogin,
    });
    return ended.map(revocationOf);
  }

  async function end(
    tx: Transaction,
    userId: string,
    { reason, exceptLoginId, deviceId }: RevocationScope,
  ): Promise<Revocation[]> {
    const not = exceptLoginId === undefined ? {} : { loginId: { not: exceptLoginId } };
    const of = deviceId === undefined ? {} : { deviceId };
    await lockAccount(tx, BigInt(userId));
    // Neither does a device get in that was let in and has not fetched its tokens.
    await tx.qrLogin.updateMany({
      where: { userId: BigInt(userId), state: "confirmed", ...of },
      data: { state: "refused" },
    });
    return endThose(tx, { userId: BigInt(userId), ...of, ...not }, reason);
  }

  /** Whether a token that was used may come again because the answer was lost. */
  async function mayBeRepeated(tx: Transaction, token: RefreshToken, now: Date): Promise<boolean> {
    const { successorHash, usedAt } = token;
    if (!usedAt || now.getTime() - usedAt.getTime() > config.refreshGraceMs) return false;
    if (!successorHash) return true;
    const successor = await tx.refreshToken.findUnique({ where: { tokenHash: successorHash } });
    // Who used the successor had the answer: this is somebody else.
    return successor?.usedAt === null;
  }

  async function rotate(tx: Transaction, refreshToken: string, seen: Issuance): Promise<Rotated> {
    const tokenHash = hashRefreshToken(refreshToken);
    const found = await tx.refreshToken.findUnique({ where: { tokenHash } });
    if (!found) return { kind: "refused" };
    const { loginId } = found;
    // Presenters of tokens of one login come one after the other.
    await tx.$executeRaw`SELECT 1 FROM auth.login WHERE login_id = ${loginId}::uuid FOR UPDATE`;
    const token = await tx.refreshToken.findUnique({
      where: { tokenHash },
      include: { login: { include: { account: true } } },
    });
    const now = new Date(clock.now());
    if (!token || token.login.revokedAt || token.expiresAt <= now) return { kind: "refused" };
    const { account } = token.login;
    if (account.state !== "active") return { kind: "refused" };
    if (token.usedAt) {
      if (await mayBeRepeated(tx, token, now)) return { kind: "refused" };
      const reuse = { revokedAt: now, revokedReason: "reuse" satisfies RevokedReason };
      return { kind: "reused", login: await tx.login.update({ where: { loginId }, data: reuse }) };
    }
    const { given, tokenHash: successorHash } = await addToken(tx, loginId, now);
    await tx.refreshToken.update({ where: { tokenHash }, data: { usedAt: now, successorHash } });
    const { accessExpiresAtMs, coarseAddress } = seen;
    const accessExpiresAt = new Date(accessExpiresAtMs);
    const login = await tx.login.update({
      where: { loginId },
      data: { lastRefreshedAt: now, lastSeenAt: now, coarseAddress, accessExpiresAt },
    });
    return { kind: "opened", opened: { login, account, ...given } };
  }

  return {
    async open(before, device, { accessExpiresAtMs, coarseAddress, method }) {
      const { userId } = before;
      const { deviceId } = device;
      const { opened, ended } = await database.$transaction(async (tx) => {
        // Two logins of one device at the same time: the second waits, then ends the first.
        await lockAccount(tx, userId);
        const account = await tx.account.findUniqueOrThrow({ where: { userId } });
        if (account.state !== "active")
          throw fail(ErrorReason.ACCOUNT_DISABLED, "the account is disabled");
        const changed =
          account.passwordChangedAt?.getTime() !== before.passwordChangedAt?.getTime();
        if (method === "password" && changed)
          throw fail(ErrorReason.CREDENTIALS_INVALID, "the user name or the password is wrong");
        if (method === "sms" && !sameNumber(account, before))
          throw fail(ErrorReason.SMS_CODE_INVALID, "the code is not good");
        if (method === "qr" && (changed || !sameNumber(account, before)))
          throw fail(
            ErrorReason.QR_LOGIN_STEP,
            "the account was changed since it let the device in",
          );
        const now = new Date(clock.now());
        const ended = await endThose(tx, { userId, deviceId }, "replaced");
        const login = await tx.login.create({
          data: {
            loginId: randomUUID(),
            userId,
            deviceId,
            deviceClass: device.deviceClass,
            deviceName: device.deviceName,
            clientVersion: device.clientVersion,
            createdAt: now,
            lastRefreshedAt: now,
            accessExpiresAt: new Date(accessExpiresAtMs),
            lastSeenAt: now,
            coarseAddress,
            method,
          },
        });
        const { given } = await addToken(tx, login.loginId, now);
        return { opened: { login, account, ...given }, ended };
      });
      notifier.notify(ended);
      return opened;
    },

    async rotate(refreshToken, seen) {
      const rotated = await database.$transaction((tx) => rotate(tx, refreshToken, seen));
      if (rotated.kind === "reused") {
        const { loginId, userId } = rotated.login;
        notifier.notify([revocationOf(rotated.login)]);
        log.warn({ event: "refresh_token_reused", loginId, userId: String(userId) });
      }
      return rotated;
    },

    async revoke(loginId, reason) {
      notifier.notify(await endThose(database, { loginId }, reason));
    },

    end,

    notifyRevoked: (ended) => notifier.notify(ended),

    async revokeAll(userId, which) {
      const ended = await database.$transaction((tx) => end(tx, userId, which));
      notifier.notify(ended);
      return ended.length;
    },

    async cleanUp() {
      const now = new Date(clock.now());
      await database.login.deleteMany({
        where: {
          accessExpiresAt: { lt: now },
          OR: [
            { revokedAt: { not: null } },
            { refreshTokens: { every: { expiresAt: { lt: now } } } },
          ],
        },
      });
      await database.refreshToken.deleteMany({ where: { expiresAt: { lt: now } } });
    },
  };
}

const revocationOf = (login: Pick<Login, "loginId" | "accessExpiresAt">): Revocation => ({
  loginId: login.loginId,
  accessExpiresAtMs: login.accessExpiresAt.getTime(),
});

/** Until the transaction ends, logins of the account begin and end one after the other. */
async function lockAccount(tx: Transaction, userId: bigint): Promise<void> {
  await tx.$executeRaw`SELECT 1 FROM auth.account WHERE user_id = ${userId} FOR NO KEY UPDATE`;
}

const sameNumber = (one: Account, other: Account): boolean =>
  Buffer.compare(one.phoneIndex ?? Buffer.alloc(0), other.phoneIndex ?? Buffer.alloc(0)) === 0;
