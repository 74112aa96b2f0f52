import { createHash, randomBytes } from "node:crypto";
import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Login, RefreshToken, Transaction } from "../database.ts";
import type { RevokedReason } from "./login-revocation.ts";

/** A new refresh token. */
export interface IssuedRefreshToken {
  /** 32 random bytes in base64url. */
  refreshToken: string;
  /** Milliseconds since the Unix epoch. */
  refreshExpiresAtMs: number;
}

/** A login for which a refresh token was just issued. */
export interface Opened extends IssuedRefreshToken {
  login: Login;
  account: Account;
}

/** The outcome of presenting a refresh token. */
export type Rotated =
  | { kind: "opened"; opened: Opened }
  /** Unknown, expired, of an ended login, or used only a moment ago. */
  | { kind: "refused" }
  /** Reuse detected: one of the two users of the token has stolen it. The login has ended. */
  | { kind: "reused"; login: Login };

/** The fields that a login's row records whenever tokens are issued. */
export interface Issuance {
  /** When the access token expires, milliseconds since the Unix epoch. */
  accessExpiresAtMs: number;
  /** Network of the device, shortened; empty when unknown. */
  coarseAddress: string;
}

/** Refresh tokens in the database, each stored as its SHA-256. */
export interface RefreshTokens {
  issue(
    tx: Transaction,
    loginId: string,
    now: Date,
  ): Promise<IssuedRefreshToken & { tokenHash: Uint8Array<ArrayBuffer> }>;
  /** See Logins.rotate. */
  rotate(tx: Transaction, refreshToken: string, issuance: Issuance): Promise<Rotated>;
}

export function createRefreshTokens({
  config,
  clock,
}: {
  config: AuthConfig;
  clock: Clock;
}): RefreshTokens {
  async function issue(tx: Transaction, loginId: string, now: Date) {
    const refreshToken = randomBytes(32).toString("base64url");
    const tokenHash = hashRefreshToken(refreshToken);
    const expiresAt = new Date(now.getTime() + config.refreshTokenSeconds * 1_000);
    await tx.refreshToken.create({ data: { tokenHash, loginId, createdAt: now, expiresAt } });
    return { refreshToken, refreshExpiresAtMs: expiresAt.getTime(), tokenHash };
  }

  /** Whether a used token may be a retry of a refresh whose answer was lost. */
  async function isRetry(tx: Transaction, token: RefreshToken, now: Date): Promise<boolean> {
    const { successorHash, usedAt } = token;
    if (!usedAt || now.getTime() - usedAt.getTime() > config.refreshGraceMs) return false;
    if (!successorHash) return true;
    const successor = await tx.refreshToken.findUnique({ where: { tokenHash: successorHash } });
    // A used successor proves that the answer arrived: another party presents this token.
    return successor?.usedAt === null;
  }

  async function rotate(
    tx: Transaction,
    refreshToken: string,
    { accessExpiresAtMs, coarseAddress }: Issuance,
  ): Promise<Rotated> {
    const tokenHash = hashRefreshToken(refreshToken);
    const found = await tx.refreshToken.findUnique({ where: { tokenHash } });
    if (!found) return { kind: "refused" };
    const { loginId } = found;
    // This row lock serialises the refreshes of one login: two of them must not race.
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
      if (await isRetry(tx, token, now)) return { kind: "refused" };
      const reuse = { revokedAt: now, revokedReason: "reuse" satisfies RevokedReason };
      return { kind: "reused", login: await tx.login.update({ where: { loginId }, data: reuse }) };
    }
    const { tokenHash: successorHash, ...issued } = await issue(tx, loginId, now);
    await tx.refreshToken.update({ where: { tokenHash }, data: { usedAt: now, successorHash } });
    const accessExpiresAt = new Date(accessExpiresAtMs);
    const login = await tx.login.update({
      where: { loginId },
      data: { lastRefreshedAt: now, lastSeenAt: now, coarseAddress, accessExpiresAt },
    });
    return { kind: "opened", opened: { login, account, ...issued } };
  }

  return { issue, rotate };
}

/** SHA-256 of a refresh token: the form in which it is stored. */
function hashRefreshToken(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(token).digest());
}
