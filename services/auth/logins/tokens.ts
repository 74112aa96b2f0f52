import { randomUUID } from "node:crypto";
import { exportJWK, SignJWT } from "jose";
import type { Clock } from "#platform/clock.ts";
import { AUDIENCE, ISSUER } from "#platform/identity/tokens.ts";
import type { AuthConfig } from "../config.ts";
import type { Keyring } from "../keys/keyring.ts";
import { activeKey } from "../keys/keys.ts";

/** The login that an access token is issued for. */
export interface Subject {
  userId: string;
  loginId: string;
  deviceId: string;
  /** Number of lucky.auth.v1.DeviceClass. */
  deviceClass: number;
  role: string;
}

/** Signs access tokens, and publishes the keys that verify them. */
export interface AccessTokens {
  /** Expiry of a token signed now: milliseconds since the Unix epoch, in whole seconds. */
  expiryMs(): number;
  /** Returns a JSON Web Token, EdDSA. */
  sign(subject: Subject, expiresAtMs: number): Promise<string>;
  /** The public keys as a JSON Web Key Set. */
  readonly jwksJson: string;
}

export async function createAccessTokens(options: {
  config: AuthConfig;
  keyring: Keyring;
  clock: Clock;
}): Promise<AccessTokens> {
  const { config, clock, keyring } = options;
  const nowSeconds = () => Math.floor(clock.now() / 1_000);
  let jwksJson = await publish(keyring);
  keyring.onChange(async () => {
    jwksJson = await publish(keyring);
  });
  return {
    expiryMs: () => (nowSeconds() + config.accessTokenSeconds) * 1_000,
    sign(subject, expiresAtMs) {
      const { keyId, privateKey } = activeKey(keyring.keys.access, clock.now());
      return new SignJWT({
        iss: ISSUER,
        aud: AUDIENCE,
        sub: subject.userId,
        sid: subject.loginId,
        did: subject.deviceId,
        dcl: subject.deviceClass,
        role: subject.role,
        iat: nowSeconds(),
        exp: expiresAtMs / 1_000,
        jti: randomUUID(),
      })
        .setProtectedHeader({ alg: "EdDSA", kid: keyId, typ: "JWT" })
        .sign(privateKey);
    },
    get jwksJson() {
      return jwksJson;
    },
  };
}

/** The JWKS of all access keys: also of successors that do not sign yet, and of replaced keys. */
async function publish(keyring: Keyring): Promise<string> {
  const keys = keyring.keys.access.map(async ({ keyId, publicKey }) => ({
    ...(await exportJWK(publicKey)),
    kid: keyId,
    alg: "EdDSA",
    use: "sig",
  }));
  return JSON.stringify({ keys: await Promise.all(keys) });
}
