import { create } from "@bufbuild/protobuf";
import { type Device, type Tokens, TokensSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { User } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { requirePrintable } from "#platform/printable.ts";
import { userOfAccount } from "../accounts/accounts.ts";
import type { Account } from "../database.ts";
import { coarseAddress } from "./coarse-address.ts";
import type { DevicePolicy } from "./device-policy.ts";
import type { LoginMethod, Logins, Opened } from "./logins.ts";
import type { AccessTokens } from "./tokens.ts";

/** How and from where a device gets in. */
export interface LoginRequest {
  device: Device | undefined;
  method: LoginMethod;
  /** Where it comes from; undefined for the same process. */
  address: string | undefined;
}

/** Lets a device in once somebody has proved to own the account. */
export interface Issuer {
  /**
   * Begins a login and hands out its tokens. Throws ACCOUNT_DISABLED, also for a deleted account,
   * DEVICE_LIMIT_REACHED when the policy lets no device of the class online, INVALID_ARGUMENT for a
   * device with control characters in its texts, and as Logins.open does.
   */
  logIn(account: Account, entrance: LoginRequest): Promise<{ user: User; tokens: Tokens }>;
  /** The tokens of a login that was just given a refresh token. */
  tokensOf(opened: Opened): Promise<Tokens>;
}

export function createIssuer({
  logins,
  accessTokens,
  devicePolicy,
}: {
  logins: Logins;
  accessTokens: AccessTokens;
  devicePolicy: DevicePolicy;
}): Issuer {
  async function tokensOf({ login, account, ...opened }: Opened): Promise<Tokens> {
    const expiresAtMs = login.accessExpiresAt.getTime();
    const subject = {
      userId: String(account.userId),
      loginId: login.loginId,
      deviceId: login.deviceId,
      deviceClass: login.deviceClass,
      role: account.role,
    };
    return create(TokensSchema, {
      accessToken: await accessTokens.sign(subject, expiresAtMs),
      accessTokenExpiresAtMs: BigInt(expiresAtMs),
      refreshToken: opened.refreshToken,
      refreshTokenExpiresAtMs: BigInt(opened.refreshExpiresAtMs),
    });
  }
  return {
    tokensOf,
    async logIn(account, { device, method, address }) {
      if (!device) throw fail(ErrorReason.INVALID_ARGUMENT, "device: value is required");
      requirePrintable("device.device_name", device.deviceName);
      requirePrintable("device.client_version", device.clientVersion);
      if (account.state !== "active")
        throw fail(ErrorReason.ACCOUNT_DISABLED, "the account is disabled");
      const rules = await devicePolicy.rules();
      const rule = rules.find(({ deviceClass }) => deviceClass === device.deviceClass);
      if (!rule || rule.maxDevices === 0)
        throw fail(ErrorReason.DEVICE_LIMIT_REACHED, "devices of this class may not be online");
      const opened = await logins.open(account, device, {
        accessExpiresAtMs: accessTokens.expiryMs(),
        coarseAddress: coarseAddress(address),
        method,
      });
      return { user: userOfAccount(account), tokens: await tokensOf(opened) };
    },
  };
}
