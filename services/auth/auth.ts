import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AuthService, type Tokens, TokensSchema } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { userOf } from "../../platform/caller.ts";
import type { Clock } from "../../platform/clock.ts";
import { fail } from "../../platform/errors.ts";
import type { Ids } from "../../platform/ids.ts";
import { requirePrintable } from "../../platform/printable.ts";
import { type Accounts, userOfAccount } from "./accounts.ts";
import type { SharedKey } from "./keys.ts";
import type { Logins, Opened } from "./logins.ts";
import { type Passwords, requireStrong } from "./passwords.ts";
import type { AccessTokens } from "./tokens.ts";

export interface AuthDependencies {
  accounts: Accounts;
  logins: Logins;
  passwords: Passwords;
  accessTokens: AccessTokens;
  /** The RSA key under which passwords travel. */
  passwordKey: SharedKey;
  ids: Ids;
  clock: Clock;
}

/** Registers, logs in and out, and hands out tokens. */
export function createAuth(d: AuthDependencies): ServiceImpl<typeof AuthService> {
  const publicKey = {
    keyId: d.passwordKey.keyId,
    algorithm: "RSA-OAEP-SHA256",
    spki: new Uint8Array(d.passwordKey.publicKey.export({ type: "spki", format: "der" })),
  };

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
      accessToken: await d.accessTokens.sign(subject, expiresAtMs),
      accessTokenExpiresAtMs: BigInt(expiresAtMs),
      refreshToken: opened.refreshToken,
      refreshTokenExpiresAtMs: BigInt(opened.refreshExpiresAtMs),
    });
  }

  return {
    getPublicKey: () => publicKey,
    getJwks: () => ({ jwksJson: d.accessTokens.jwksJson }),

    async register(request) {
      const { userName } = request;
      const password = await d.passwords.decrypt(request.password);
      requireStrong(password, userName);
      const account = await d.accounts.create({
        userId: BigInt(d.ids.next()),
        userName,
        displayName: displayNameOf(request.displayName, userName),
        passwordHash: await d.passwords.hash(password),
        createdAt: new Date(d.clock.now()),
      });
      return { user: userOfAccount(account) };
    },

    async login(request) {
      const { device } = request;
      if (!device) throw fail(ErrorReason.INVALID_ARGUMENT, "device: value is required");
      requirePrintable("device.device_name", device.deviceName);
      requirePrintable("device.client_version", device.clientVersion);
      const password = await d.passwords.decrypt(request.password);
      const account = await d.accounts.byName(request.userName);
      // Verified in either case: how long it takes must not tell who exists.
      const right = await d.passwords.verify(account?.passwordHash, password);
      if (!right || !account)
        throw fail(ErrorReason.CREDENTIALS_INVALID, "the user name or the password is wrong");
      const opened = await d.logins.open(account, device, d.accessTokens.expiryMs());
      return { user: userOfAccount(account), tokens: await tokensOf(opened) };
    },

    async refresh({ refreshToken }) {
      const opened = await d.logins.rotate(refreshToken, d.accessTokens.expiryMs());
      if (!opened)
        throw fail(ErrorReason.REFRESH_TOKEN_INVALID, "the refresh token is not valid; log in");
      return { tokens: await tokensOf(opened) };
    },

    async logout(_request, context) {
      await d.logins.revoke(userOf(context).loginId);
      return {};
    },
  };
}

/** What people see; a name of nothing but blanks counts as empty. */
function displayNameOf(wanted: string, userName: string): string {
  const name = wanted.trim() || userName;
  requirePrintable("display_name", name);
  return name;
}
