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
  /** Unknown, expired, or of an ended login. */
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
  rotate(
    tx: Transaction,
    refreshToken: string,
    issuance: Issuance,
    signal: AbortSignal,
  ): Promise<Rotated>;
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

  /**
   * Voids the successor of a used token when that token may be a retry of a refresh whose answer was
   * lost, and returns whether it may.
   */
  async function voidLostSuccessor(
    tx: Transaction,
    { successorHash, usedAt }: RefreshToken,
    now: Date,
  ): Promise<boolean> {
    // A void token was used without a successor.
    if (!usedAt || !successorHash) return false;
    if (now.getTime() - usedAt.getTime() > config.refreshGraceMs) return false;
    // A used successor proves that the answer arrived: another party presents this token. The row is
    // kept, because a void token that is presented proves the same.
    const { count } = await tx.refreshToken.updateMany({
      where: { tokenHash: successorHash, usedAt: null },
      data: { usedAt: now },
    });
    return count === 1;
  }

  async function rotate(
    tx: Transaction,
    refreshToken: string,
    { accessExpiresAtMs, coarseAddress }: Issuance,
    signal: AbortSignal,
  ): Promise<Rotated> {
    const tokenHash = hashRefreshToken(refreshToken);
    const found = await tx.refreshToken.findUnique({ where: { tokenHash } });
    if (!found) return { kind: "refused" };
    const { loginId } = found;
    // This row lock serialises the refreshes of one login: two of them must not race.
    await tx.$executeRaw`SELECT 1 FROM auth.login WHERE login_id = ${loginId}::uuid FOR UPDATE`;
    // Otherwise an abandoned attempt that waited could void the successor that its retry returned.
    signal.throwIfAborted();
    const token = await tx.refreshToken.findUnique({
      where: { tokenHash },
      include: { login: { include: { account: true } } },
    });
    const now = new Date(clock.now());
    if (!token || token.login.revokedAt || token.expiresAt <= now) return { kind: "refused" };
    const { account } = token.login;
    if (account.state !== "active") return { kind: "refused" };
    if (token.usedAt && !(await voidLostSuccessor(tx, token, now))) {
      const reuse = { revokedAt: now, revokedReason: "reuse" satisfies RevokedReason };
      return { kind: "reused", login: await tx.login.update({ where: { loginId }, data: reuse }) };
    }
    const { tokenHash: successorHash, ...issued } = await issue(tx, loginId, now);
    // The first use starts the grace time; a retry does not extend it.
    const usedAt = token.usedAt ?? now;
    await tx.refreshToken.update({ where: { tokenHash }, data: { usedAt, successorHash } });
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
