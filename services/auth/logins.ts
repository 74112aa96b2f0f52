import { randomUUID } from "node:crypto";
import type { Device } from "../../gen/lucky/auth/v1/auth_pb.js";
import type { Account, Login } from "../../gen/prisma/client.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Log } from "../../platform/log.ts";
import type { AuthConfig } from "./config.ts";
import type { Database, Transaction } from "./database.ts";
import { hashRefreshToken, makeRefreshToken } from "./tokens.ts";

/** A login that has just been given a refresh token. */
export interface Opened {
  login: Login;
  account: Account;
  refreshToken: string;
  refreshExpiresAtMs: number;
}

/** A login that ended before its last access token did. */
export interface Revocation {
  loginId: string;
  accessExpiresAtMs: number;
}

/** Logins of devices and their refresh tokens. Times are milliseconds since the Unix epoch. */
export interface Logins {
  /** Begins a login; an older one of the same user on the same device ends. */
  open(account: Account, device: Device, accessExpiresAtMs: number): Promise<Opened>;
  /**
   * Exchanges a refresh token for the next one. Undefined when it is unknown, expired, used or of a
   * login that ended. A used one ends its login, unless it was used only a moment ago.
   */
  rotate(refreshToken: string, accessExpiresAtMs: number): Promise<Opened | undefined>;
  /** Ends a login. Idempotent. */
  revoke(loginId: string): Promise<void>;
  /** Logins that ended since the cursor and whose access tokens may still be good. */
  revokedSince(cursorMs: number): Promise<{ revocations: Revocation[]; nextCursorMs: number }>;
  /** Deletes what can never be used again. */
  tidy(): Promise<void>;
}

/**
 * A revocation may be committed this much later than its time says, or come from a late clock: more
 * than a transaction may take.
 */
const OVERLAP_MS = 30_000;

export function createLogins(options: {
  config: AuthConfig;
  database: Database;
  clock: Clock;
  log: Log;
}): Logins {
  const { config, database, clock, log } = options;

  async function addToken(tx: Transaction, loginId: string, now: Date) {
    const refreshToken = makeRefreshToken();
    const expiresAt = new Date(now.getTime() + config.refreshTokenSeconds * 1_000);
    await tx.refreshToken.create({
      data: { tokenHash: hashRefreshToken(refreshToken), loginId, createdAt: now, expiresAt },
    });
    return { refreshToken, refreshExpiresAtMs: expiresAt.getTime() };
  }

  return {
    open: (account, device, accessExpiresAtMs) =>
      database.$transaction(async (tx) => {
        const { userId } = account;
        const { deviceId } = device;
        // Two logins of one device at the same time: the second waits, then ends the first.
        await tx.$executeRaw`SELECT 1 FROM auth.account WHERE user_id = ${userId} FOR NO KEY UPDATE`;
        const now = new Date(clock.now());
        await tx.login.updateMany({
          where: { userId, deviceId, revokedAt: null },
          data: { revokedAt: now },
        });
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
          },
        });
        return { login, account, ...(await addToken(tx, login.loginId, now)) };
      }),

    rotate: (refreshToken, accessExpiresAtMs) =>
      database.$transaction(async (tx) => {
        const tokenHash = hashRefreshToken(refreshToken);
        const found = await tx.refreshToken.findUnique({ where: { tokenHash } });
        if (!found) return undefined;
        const { loginId } = found;
        // Presenters of tokens of one login come one after the other.
        await tx.$executeRaw`SELECT 1 FROM auth.login WHERE login_id = ${loginId}::uuid FOR UPDATE`;
        const token = await tx.refreshToken.findUnique({
          where: { tokenHash },
          include: { login: { include: { account: true } } },
        });
        const now = new Date(clock.now());
        if (!token || token.login.revokedAt || token.expiresAt <= now) return undefined;
        if (token.usedAt) {
          if (now.getTime() - token.usedAt.getTime() <= config.refreshGraceMs) return undefined;
          await tx.login.update({ where: { loginId }, data: { revokedAt: now } });
          log.warn({ event: "refresh_token_reused", loginId, userId: String(token.login.userId) });
          return undefined;
        }
        await tx.refreshToken.update({ where: { tokenHash }, data: { usedAt: now } });
        const login = await tx.login.update({
          where: { loginId },
          data: { lastRefreshedAt: now, accessExpiresAt: new Date(accessExpiresAtMs) },
        });
        const { account } = token.login;
        return { login, account, ...(await addToken(tx, loginId, now)) };
      }),

    async revoke(loginId) {
      await database.login.updateMany({
        where: { loginId, revokedAt: null },
        data: { revokedAt: new Date(clock.now()) },
      });
    },

    async revokedSince(cursorMs) {
      const now = clock.now();
      const rows = await database.login.findMany({
        where: {
          revokedAt: { gte: new Date(Math.max(0, cursorMs - OVERLAP_MS)) },
          accessExpiresAt: { gt: new Date(now) },
        },
        select: { loginId: true, accessExpiresAt: true, revokedAt: true },
      });
      // Not beyond our own clock: a fast clock elsewhere must not hide what comes after it.
      const seen = rows.map(({ revokedAt }) => Math.min(revokedAt?.getTime() ?? 0, now));
      return {
        revocations: rows.map(({ loginId, accessExpiresAt }) => ({
          loginId,
          accessExpiresAtMs: accessExpiresAt.getTime(),
        })),
        nextCursorMs: Math.max(cursorMs, ...seen),
      };
    },

    async tidy() {
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
