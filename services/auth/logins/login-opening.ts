import { randomUUID } from "node:crypto";
import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { LoginMethod as NoticeMethod, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { lockAccount } from "../accounts/account-states.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Transaction } from "../database.ts";
import type { SecurityNotices, StoredNotice } from "../notices/security-notices.ts";
import type { LoginRevocation } from "./login-revocation.ts";
import type { Issuance, Opened, RefreshTokens } from "./refresh-tokens.ts";
import type { Revocation } from "./revocation-notifier.ts";

/** How a device was authenticated. */
export type LoginMethod = "password" | "sms" | "qr";

export interface NewLogin extends Issuance {
  method: LoginMethod;
  /** The login that confirmed this one by QR code and that this one ends with; absent: none. */
  confirmedBy?: string;
}

/**
 * Begins a login in the database, see Logins.open. `before` is the account as it was when the device
 * was authenticated.
 */
export type OpenLogin = (
  tx: Transaction,
  before: Account,
  device: Device,
  login: NewLogin,
) => Promise<{ opened: Opened; ended: Revocation[]; notice: StoredNotice | undefined }>;

const NOTICE_METHODS: Record<LoginMethod, NoticeMethod> = {
  password: NoticeMethod.PASSWORD,
  sms: NoticeMethod.SMS_CODE,
  qr: NoticeMethod.QR_CODE,
};

export function createLoginOpening({
  config,
  clock,
  notices,
  refreshTokens,
  revocation,
}: {
  config: Pick<AuthConfig, "maxLogins">;
  clock: Clock;
  notices: Pick<SecurityNotices, "record">;
  refreshTokens: RefreshTokens;
  revocation: LoginRevocation;
}): OpenLogin {
  return async (tx, before, device, { accessExpiresAtMs, coarseAddress, method, confirmedBy }) => {
    const { userId } = before;
    const { deviceId, deviceClass, deviceName, clientVersion } = device;
    // The lock serialises concurrent logins of one user: of one device, the second one ends the
    // first, and no two of them count the same logins.
    await lockAccount(tx, userId);
    const account = await tx.account.findUniqueOrThrow({ where: { userId } });
    requireUnchanged(account, before, method);
    const now = new Date(clock.now());
    const replaced = await revocation.revokeMatching(tx, { userId, deviceId }, "replaced");
    const excess = await revocation.revokeOldest(tx, userId, config.maxLogins - 1);
    if (confirmedBy !== undefined) await requireActive(tx, confirmedBy);
    const login = await tx.login.create({
      data: {
        loginId: randomUUID(),
        userId,
        deviceId,
        deviceClass,
        deviceName,
        clientVersion,
        createdAt: now,
        lastRefreshedAt: now,
        accessExpiresAt: new Date(accessExpiresAtMs),
        lastSeenAt: now,
        coarseAddress,
        method,
        confirmedBy: confirmedBy ?? null,
      },
    });
    const { refreshToken, refreshExpiresAtMs } = await refreshTokens.issue(tx, login.loginId, now);
    const event = {
      userId: String(userId),
      kind: SecurityNoticeKind.DEVICE_LOGGED_IN,
      loginId: login.loginId,
      coarseAddress,
      loginMethod: NOTICE_METHODS[method],
    };
    return {
      opened: { login, account, accessExpiresAtMs, refreshToken, refreshExpiresAtMs },
      ended: [...replaced, ...excess],
      // Bots cannot list notices.
      notice: account.role === "bot" ? undefined : await notices.record(tx, event),
    };
  };
}

/**
 * Throws QR_LOGIN_STEP when the login that confirmed the device has ended. The lock delays its end
 * until this transaction ends: then the end finds the new login.
 */
async function requireActive(tx: Transaction, loginId: string): Promise<void> {
  const active = await tx.$queryRaw<unknown[]>`
    SELECT 1 AS one FROM auth.login
    WHERE login_id = ${loginId}::uuid AND revoked_at IS NULL FOR SHARE`;
  if (active.length > 0) return;
  throw fail(ErrorReason.QR_LOGIN_STEP, "the phone that confirmed is no longer logged in");
}

/** Throws when the account was disabled, or the credential that authenticated the device changed. */
function requireUnchanged(account: Account, before: Account, method: LoginMethod): void {
  if (account.state !== "active")
    throw fail(ErrorReason.ACCOUNT_DISABLED, "the account is disabled");
  const passwordChanged =
    account.passwordChangedAt?.getTime() !== before.passwordChangedAt?.getTime();
  const phoneChanged = !hasSamePhone(account, before);
  if (method === "password" && passwordChanged)
    throw fail(ErrorReason.CREDENTIALS_INVALID, "the user name or the password is wrong");
  if (method === "sms" && phoneChanged)
    throw fail(ErrorReason.SMS_CODE_INVALID, "the code is not valid");
  if (method === "qr" && (passwordChanged || phoneChanged))
    throw fail(ErrorReason.QR_LOGIN_STEP, "the account was changed since it confirmed the device");
}

const hasSamePhone = (one: Account, other: Account): boolean =>
  Buffer.compare(one.phoneIndex ?? Buffer.alloc(0), other.phoneIndex ?? Buffer.alloc(0)) === 0;
