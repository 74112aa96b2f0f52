import { create } from "@bufbuild/protobuf";
import { type Device, type Tokens, TokensSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { User } from "#gen/lucky/user/v1/user_pb.js";
import { fail } from "#platform/errors.ts";
import { userOfAccount } from "../accounts/accounts.ts";
import type { Account } from "../database.ts";
import { coarseAddress } from "./coarse-address.ts";
import type { DevicePolicy } from "./device-policy.ts";
import { givenDevice } from "./given-device.ts";
import type { LoginMethod } from "./login-opening.ts";
import type { Logins } from "./logins.ts";
import type { Opened } from "./refresh-tokens.ts";
import type { AccessTokens } from "./tokens.ts";

/** A device that logs in. */
export interface DeviceLogin {
  device: Device | undefined;
  method: LoginMethod;
  /** The login that confirmed this one by QR code. */
  confirmedBy?: string;
  /** IP address of the device; undefined for a caller in the same process. */
  address: string | undefined;
}

/** Begins logins of devices that are authenticated, and issues their tokens. */
export interface Issuer {
  /**
   * Begins a login and issues its tokens. Throws ACCOUNT_DISABLED, also for a deleted account,
   * DEVICE_LIMIT_REACHED when the policy allows no device of the class online, INVALID_ARGUMENT for a
   * missing device, and as Logins.open does.
   */
  logIn(account: Account, login: DeviceLogin): Promise<{ user: User; tokens: Tokens }>;
  /** Signs an access token, and returns it with the refresh token that was just issued. */
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
  async function tokensOf({
    login,
    account,
    accessExpiresAtMs,
    refreshToken,
    refreshExpiresAtMs,
  }: Opened): Promise<Tokens> {
    const subject = {
      userId: String(account.userId),
      loginId: login.loginId,
      deviceId: login.deviceId,
      deviceClass: login.deviceClass,
      role: account.role,
    };
    return create(TokensSchema, {
      accessToken: await accessTokens.sign(subject, accessExpiresAtMs),
      accessTokenExpiresAtMs: BigInt(accessExpiresAtMs),
      refreshToken,
      refreshTokenExpiresAtMs: BigInt(refreshExpiresAtMs),
    });
  }
  return {
    tokensOf,
    async logIn(account, { device: given, method, confirmedBy, address }) {
      const device = givenDevice(given);
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
        confirmedBy,
      });
      return { user: userOfAccount(account), tokens: await tokensOf(opened) };
    },
  };
}
