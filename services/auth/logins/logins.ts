import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Database, Transaction } from "../database.ts";
import { createLoginOpening, type NewLogin } from "./login-opening.ts";
import {
  createLoginRevocation,
  type RevocationScope,
  type RevokedReason,
  revocationOf,
} from "./login-revocation.ts";
import { createRefreshTokens, type Issuance, type Opened, type Rotated } from "./refresh-tokens.ts";
import type { Revocation, RevocationNotifier } from "./revocation-notifier.ts";

/** Logins of devices and their refresh tokens. Times are milliseconds since the Unix epoch. */
export interface Logins {
  /**
   * Begins a login. An older one of the same user on the same device ends, and so do, beyond
   * `maxLogins`, those that were seen least recently. Throws ACCOUNT_DISABLED,
   * CREDENTIALS_INVALID, SMS_CODE_INVALID or QR_LOGIN_STEP when the account was disabled, or the
   * credential (password or number) was changed after `account` was read. Such a change ends all
   * logins, and this check closes the race with a login that begins at the same time.
   */
  open(account: Account, device: Device, login: NewLogin): Promise<Opened>;
  /**
   * Exchanges a refresh token for its successor. Reuse of a token ends the login. Exception: a reuse
   * within `refreshGraceMs` of the first use while the successor is unused may be a retry after a
   * lost answer. It returns another successor, and the unused one becomes void. A void token that is
   * presented ends the login too. Rejects with the signal's reason, and changes nothing, when the
   * caller has gone before the exchange.
   */
  rotate(refreshToken: string, issuance: Issuance, signal: AbortSignal): Promise<Rotated>;
  /** Ends a login. Idempotent. */
  revoke(loginId: string, reason: RevokedReason): Promise<void>;
  /**
   * Ends the logins of a user within `scope`, and refuses QR logins whose tokens were not fetched.
   * It runs in the transaction of the change that causes it: both are committed, or neither. A
   * login that begins concurrently either ends too, or sees the change. After the commit the caller
   * passes the result to `notifyRevoked`.
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
  /** Deletes ended and expired logins, and expired refresh tokens. */
  deleteExpired(): Promise<void>;
}

export function createLogins(options: {
  config: AuthConfig;
  database: Database;
  clock: Clock;
  log: Log;
  notifier: RevocationNotifier;
}): Logins {
  const { config, database, clock, log, notifier } = options;
  const refreshTokens = createRefreshTokens({ config, clock });
  const revocation = createLoginRevocation({ clock });
  const openLogin = createLoginOpening({ config, clock, refreshTokens, revocation });
  const end = revocation.revokeOfUser;

  return {
    async open(account, device, login) {
      const { opened, ended } = await database.$transaction((tx) =>
        openLogin(tx, account, device, login),
      );
      notifier.notify(ended);
      return opened;
    },

    async rotate(refreshToken, issuance, signal) {
      const rotated = await database.$transaction((tx) =>
        refreshTokens.rotate(tx, refreshToken, issuance, signal),
      );
      if (rotated.kind === "reused") {
        const { loginId, userId } = rotated.login;
        notifier.notify([revocationOf(rotated.login)]);
        log.warn({ event: "refresh_token_reused", loginId, userId: String(userId) });
      }
      return rotated;
    },

    async revoke(loginId, reason) {
      notifier.notify(await revocation.revokeMatching(database, { loginId }, reason));
    },

    end,

    notifyRevoked: (ended) => notifier.notify(ended),

    async revokeAll(userId, scope) {
      const ended = await database.$transaction((tx) => end(tx, userId, scope));
      notifier.notify(ended);
      return ended.length;
    },

    async deleteExpired() {
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
