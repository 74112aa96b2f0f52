import { createHash, randomBytes } from "node:crypto";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Login, Prisma, RefreshToken, Transaction } from "../database.ts";
import type { SecurityNotices, StoredNotice } from "../notices/security-notices.ts";
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
  /** When the access token to sign expires, milliseconds since the Unix epoch. */
  accessExpiresAtMs: number;
}

/** How a refresh token ended its login. */
export type EndedByToken =
  /** Reuse detected: one of the two users of the token has stolen it. */
  | { kind: "reused"; login: Login; notice: StoredNotice }
  /** The login that confirmed this one has ended or expired. */
  | { kind: "orphaned"; login: Login };

/** The outcome of exchanging a refresh token. */
export type Rotated =
  | { kind: "opened"; opened: Opened }
  /** Unknown, expired, or of an ended login. */
  | { kind: "refused" }
  | EndedByToken;

/** The outcome of proving a login by its refresh token. */
export type Proved =
  | { kind: "proved" }
  /** The token is right, but the login depends on the one that confirmed it. */
  | { kind: "dependent" }
  /** Unknown, expired, or of another login. */
  | { kind: "refused" }
  /** The login has ended, or its account is not active. */
  | { kind: "ended" }
  | EndedByToken;

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
  /** See Logins.prove. */
  prove(tx: Transaction, presented: Presented, signal: AbortSignal): Promise<Proved>;
}

/** A refresh token as a caller presents it. */
interface Presented {
  refreshToken: string;
  /** Network of the caller, shortened; empty when unknown. */
  coarseAddress: string;
  /** The login that it must belong to; absent: any. */
  loginId?: string;
}

/** A refresh token with its login and account. */
type StoredToken = RefreshToken & { login: Login & { account: Account } };

/** A refresh token that can be exchanged, under the lock of its login. */
interface Accepted {
  kind: "accepted";
  token: StoredToken;
  /** The unused successor of a used token, whose answer may have been lost. */
  lostSuccessor: Uint8Array<ArrayBuffer> | undefined;
  now: Date;
}

/** Matches a login that can continue: not revoked, and with a valid unused refresh token. */
export const continuing = (now: Date) =>
  ({
    revokedAt: null,
    refreshTokens: { some: { usedAt: null, expiresAt: { gt: now } } },
  }) satisfies Prisma.LoginWhereInput;

export function createRefreshTokens({
  config,
  clock,
  notices,
}: {
  config: AuthConfig;
  clock: Clock;
  notices: Pick<SecurityNotices, "record">;
}): RefreshTokens {
  async function issue(tx: Transaction, loginId: string, now: Date) {
    const refreshToken = randomBytes(32).toString("base64url");
    const tokenHash = hashRefreshToken(refreshToken);
    const expiresAt = new Date(now.getTime() + config.refreshTokenSeconds * 1_000);
    await tx.refreshToken.create({ data: { tokenHash, loginId, createdAt: now, expiresAt } });
    return { refreshToken, refreshExpiresAtMs: expiresAt.getTime(), tokenHash };
  }

  /**
   * The unused successor of a used token that may be a retry of a refresh whose answer was lost. The
   * lock of the login keeps it unused.
   */
  async function lostSuccessorOf(
    tx: Transaction,
    { successorHash, usedAt }: RefreshToken,
    now: Date,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    // A void token was used without a successor.
    if (!usedAt || !successorHash) return undefined;
    if (now.getTime() - usedAt.getTime() > config.refreshGraceMs) return undefined;
    // A used successor proves that the answer arrived: another party presents this token.
    const where = { tokenHash: successorHash, usedAt: null };
    return (await tx.refreshToken.count({ where })) === 1 ? successorHash : undefined;
  }

  /** Checks a refresh token under the lock of its login, and ends the login as Logins.rotate says. */
  async function examine(
    tx: Transaction,
    { refreshToken, coarseAddress, loginId: ofLogin }: Presented,
    signal: AbortSignal,
  ): Promise<Accepted | EndedByToken | { kind: "refused" } | { kind: "ended" }> {
    const tokenHash = hashRefreshToken(refreshToken);
    const found = await tx.refreshToken.findUnique({ where: { tokenHash } });
    if (!found || (ofLogin !== undefined && found.loginId !== ofLogin)) return { kind: "refused" };
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
    if (!token || token.expiresAt <= now) return { kind: "refused" };
    const { login } = token;
    if (login.revokedAt || login.account.state !== "active") return { kind: "ended" };
    const end = (revokedReason: RevokedReason) =>
      tx.login.update({ where: { loginId }, data: { revokedAt: now, revokedReason } });
    const lostSuccessor = await lostSuccessorOf(tx, token, now);
    if (token.usedAt && !lostSuccessor) {
      const kind = SecurityNoticeKind.REFRESH_TOKEN_REUSED;
      const event = { userId: String(login.userId), kind, loginId, coarseAddress };
      const notice = await notices.record(tx, event);
      return { kind: "reused", login: await end("reuse"), notice };
    }
    if (login.confirmedBy !== null) {
      const where = { loginId: login.confirmedBy, ...continuing(now) };
      if ((await tx.login.count({ where })) === 0)
        return { kind: "orphaned", login: await end("confirmer") };
    }
    return { kind: "accepted", token, lostSuccessor, now };
  }

  async function rotate(
    tx: Transaction,
    refreshToken: string,
    { accessExpiresAtMs, coarseAddress }: Issuance,
    signal: AbortSignal,
  ): Promise<Rotated> {
    const examined = await examine(tx, { refreshToken, coarseAddress }, signal);
    if (examined.kind === "ended") return { kind: "refused" };
    if (examined.kind !== "accepted") return examined;
    const { token, lostSuccessor, now } = examined;
    const { loginId, tokenHash } = token;
    if (lostSuccessor) {
      // It becomes void. Its row is kept: a void token that is presented proves that its answer
      // arrived.
      const where = { tokenHash: lostSuccessor };
      await tx.refreshToken.update({ where, data: { usedAt: now } });
    }
    const { tokenHash: successorHash, ...issued } = await issue(tx, loginId, now);
    // The first use starts the grace time; a retry does not extend it.
    const usedAt = token.usedAt ?? now;
    await tx.refreshToken.update({ where: { tokenHash }, data: { usedAt, successorHash } });
    // The expiry of the last access token to expire: after the clock has stepped back, an earlier one.
    const latestMs = Math.max(accessExpiresAtMs, token.login.accessExpiresAt.getTime());
    const accessExpiresAt = new Date(latestMs);
    const login = await tx.login.update({
      where: { loginId },
      data: { lastRefreshedAt: now, lastSeenAt: now, coarseAddress, accessExpiresAt },
    });
    const { account } = token.login;
    return { kind: "opened", opened: { login, account, accessExpiresAtMs, ...issued } };
  }

  async function prove(
    tx: Transaction,
    presented: Presented,
    signal: AbortSignal,
  ): Promise<Proved> {
    const examined = await examine(tx, presented, signal);
    if (examined.kind !== "accepted") return examined;
    return { kind: examined.token.login.confirmedBy === null ? "proved" : "dependent" };
  }

  return { issue, rotate, prove };
}

/** SHA-256 of a refresh token: the form in which it is stored. */
function hashRefreshToken(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(token).digest());
}
