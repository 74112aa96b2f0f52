import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { lockAccount } from "../accounts/account-states.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Database, Transaction } from "../database.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";
import { createLoginOpening, type NewLogin } from "./login-opening.ts";
import {
  createLoginRevocation,
  type RevocationScope,
  type RevokedReason,
  revocationOf,
} from "./login-revocation.ts";
import {
  createRefreshTokens,
  type EndedByToken,
  type Issuance,
  type Opened,
  type Proved,
  type Rotated,
} from "./refresh-tokens.ts";
import type { Revocation, RevocationNotifier } from "./revocation-notifier.ts";

/** Logins of devices and their refresh tokens. Times are milliseconds since the Unix epoch. */
export interface Logins {
  /**
   * Begins a login and notifies the user's devices. Ends an older login of the same user on the same
   * device and, beyond `maxLogins`, the logins that were seen least recently. Throws
   * ACCOUNT_DISABLED, CREDENTIALS_INVALID, SMS_CODE_INVALID or QR_LOGIN_STEP when the account was
   * disabled, or the credential (password or number) was changed after `account` was read. Such a
   * change ends all logins, and this check closes the race with a login that begins at the same time.
   * Throws QR_LOGIN_STEP also when the login that confirmed the device has ended.
   */
  open(account: Account, device: Device, login: NewLogin): Promise<Opened>;
  /**
   * Exchanges a refresh token for its successor. Reuse of a token ends the login, and notifies the
   * user's devices. Exception: a reuse within `refreshGraceMs` of the first use while the successor
   * is unused may be a retry after a lost answer. It returns another successor, and the unused one
   * becomes void. A void token that is presented ends the login too, and so does the end or the expiry
   * of the login that confirmed this one. Rejects with the signal's reason, and changes nothing, when
   * the caller has gone before the exchange.
   */
  rotate(refreshToken: string, issuance: Issuance, signal: AbortSignal): Promise<Rotated>;
  /**
   * Whether a refresh token proves that the caller holds the login, and not only one of its access
   * tokens. A token that `rotate` would exchange is a proof and stays valid; a token that `rotate` would
   * count as reused ends the login. The token of another login is refused and ends nothing.
   */
  prove(
    loginId: string,
    given: { refreshToken: string; coarseAddress: string },
    signal: AbortSignal,
  ): Promise<Proved>;
  /** Ends a login of a user, and the logins that it confirmed. Idempotent. */
  revoke(userId: string, loginId: string, reason: RevokedReason): Promise<void>;
  /**
   * Ends the logins of a user within `scope` with the logins that they confirmed, and refuses QR
   * logins whose tokens were not fetched. It runs in the transaction of the change that causes it:
   * both are committed, or neither. A login that begins concurrently either ends too, or sees the
   * change. After the commit the caller passes the result to `notifyRevoked`.
   */
  end(tx: Transaction, userId: string, scope: RevocationScope): Promise<Revocation[]>;
  /**
   * Notifies the other services of logins whose end is committed. A service that misses the
   * notification learns of it when it polls ListRevocations.
   */
  notifyRevoked(ended: readonly Revocation[]): void;
  /**
   * Ends logins in a separate transaction, and notifies the other services. Returns their number.
   */
  revokeAll(userId: string, scope: RevocationScope): Promise<number>;
  /**
   * Deletes ended and expired logins, and expired refresh tokens. Ends the logins that an ended or
   * expired one confirmed.
   */
  deleteExpired(): Promise<void>;
}

export function createLogins(options: {
  config: AuthConfig;
  database: Database;
  clock: Clock;
  log: Log;
  notices: Pick<SecurityNotices, "record" | "send">;
  notifier: RevocationNotifier;
}): Logins {
  const { config, database, clock, log, notices, notifier } = options;
  const refreshTokens = createRefreshTokens({ config, clock, notices });
  const revocation = createLoginRevocation({ clock });
  const openLogin = createLoginOpening({ config, clock, notices, refreshTokens, revocation });
  const end = revocation.revokeOfUser;

  /** Ends logins, locked by their account: see LoginRevocation. */
  async function endLocked(
    userId: bigint,
    work: (tx: Transaction) => Promise<Revocation[]>,
  ): Promise<void> {
    const ended = await database.$transaction(async (tx) => {
      await lockAccount(tx, userId);
      return work(tx);
    });
    notifier.notify(ended);
  }

  /**
   * Follows the end of a login by a refresh token, which is committed. The transaction is separate:
   * a refresh holds the lock of the login, and to wait for the one of the account could deadlock. If
   * it fails, the logins that this one confirmed end at their next refresh or clean-up.
   */
  async function endedByToken(end: EndedByToken): Promise<void> {
    const { login } = end;
    const { loginId, userId } = login;
    notifier.notify([revocationOf(login)]);
    if (end.kind === "reused") {
      log.warn({ event: "refresh_token_reused", loginId, userId: String(userId) });
      notices.send(end.notice);
    }
    await endLocked(userId, (tx) => revocation.revokeConfirmedBy(tx, [login]));
  }

  return {
    async open(account, device, login) {
      const { opened, ended, notice } = await database.$transaction((tx) =>
        openLogin(tx, account, device, login),
      );
      notifier.notify(ended);
      if (notice) notices.send(notice);
      return opened;
    },

    async rotate(refreshToken, issuance, signal) {
      const rotated = await database.$transaction((tx) =>
        refreshTokens.rotate(tx, refreshToken, issuance, signal),
      );
      if (rotated.kind === "reused" || rotated.kind === "orphaned") await endedByToken(rotated);
      return rotated;
    },

    async prove(loginId, given, signal) {
      const proved = await database.$transaction((tx) =>
        refreshTokens.prove(tx, { ...given, loginId }, signal),
      );
      if (proved.kind === "reused" || proved.kind === "orphaned") await endedByToken(proved);
      return proved;
    },

    revoke: (userId, loginId, reason) =>
      endLocked(BigInt(userId), (tx) => revocation.revokeMatching(tx, { loginId }, reason)),

    end,

    notifyRevoked: (ended) => notifier.notify(ended),

    async revokeAll(userId, scope) {
      const ended = await database.$transaction((tx) => end(tx, userId, scope));
      notifier.notify(ended);
      return ended.length;
    },

    async deleteExpired() {
      const now = new Date(clock.now());
      for (const { login_id: loginId, user_id: userId } of await orphans(database, now))
        await endLocked(userId, (tx) => revocation.revokeMatching(tx, { loginId }, "confirmer"));
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

/** Logins that depend on one that has ended, has expired or is deleted; at most 1,000. */
const orphans = (database: Database, now: Date) =>
  database.$queryRaw<{ login_id: string; user_id: bigint }[]>`
    SELECT login_id, user_id FROM auth.login AS orphan
    WHERE confirmed_by IS NOT NULL AND revoked_at IS NULL AND NOT EXISTS (
      SELECT 1 FROM auth.login JOIN auth.refresh_token USING (login_id)
      WHERE login.login_id = orphan.confirmed_by AND login.revoked_at IS NULL
        AND used_at IS NULL AND refresh_token.expires_at > ${now})
    LIMIT 1000`;
