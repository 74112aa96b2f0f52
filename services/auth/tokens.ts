import { createHash, randomBytes, randomUUID } from "node:crypto";
import { exportJWK, SignJWT } from "jose";
import type { Clock } from "../../platform/clock.ts";
import type { AuthConfig } from "./config.ts";
import type { SharedKey } from "./keys.ts";

/** Who an access token speaks for. */
export interface Subject {
  userId: string;
  loginId: string;
  deviceId: string;
  /** Number of lucky.auth.v1.DeviceClass. */
  deviceClass: number;
  role: string;
}

/** Signs access tokens and shows the keys to verify them with. */
export interface AccessTokens {
  /** When a token signed now expires, milliseconds since the Unix epoch; a whole second. */
  expiryMs(): number;
  /** The JSON Web Token. */
  sign(subject: Subject, expiresAtMs: number): Promise<string>;
  /** The public keys as a JSON Web Key Set. */
  readonly jwksJson: string;
}

export const ISSUER = "lucky";
export const AUDIENCE = "lucky";

export async function createAccessTokens(options: {
  config: AuthConfig;
  keys: readonly SharedKey[];
  clock: Clock;
}): Promise<AccessTokens> {
  const { config, keys, clock } = options;
  const newest = keys[0];
  if (!newest) throw new Error("there is no key to sign access tokens with");
  const published = await Promise.all(
    keys.map(async ({ keyId, publicKey }) => ({
      ...(await exportJWK(publicKey)),
      kid: keyId,
      alg: "EdDSA",
      use: "sig",
    })),
  );
  const header = { alg: "EdDSA", kid: newest.keyId, typ: "JWT" };
  const nowSeconds = () => Math.floor(clock.now() / 1_000);
  return {
    expiryMs: () => (nowSeconds() + config.accessTokenSeconds) * 1_000,
    sign: (subject, expiresAtMs) =>
      new SignJWT({
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
        .setProtectedHeader(header)
        .sign(newest.privateKey),
    jwksJson: JSON.stringify({ keys: published }),
  };
}

/** A fresh refresh token: 32 random bytes in base64url. */
export const makeRefreshToken = (): string => randomBytes(32).toString("base64url");

/** What is stored of a refresh token: its SHA-256. */
export function hashRefreshToken(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(token).digest());
}
