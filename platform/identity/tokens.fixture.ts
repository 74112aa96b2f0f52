import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import { AUDIENCE, createTokenVerifier, ISSUER, type TokenVerifier } from "./tokens.ts";

/** Signs access tokens as auth does, with its own key. */
export interface TestIssuer {
  readonly verifier: TokenVerifier;
  /** Ids of ended logins. */
  readonly ended: Set<string>;
  /** Ids of withdrawn keys. The keys have the ids k1, k2 and so on. */
  readonly withdrawn: Set<string>;
  /** The key set as auth would publish it. */
  jwks(): string;
  /** A token of user 1 on device "d1", valid for 15 minutes; `claims` override. */
  token(claims?: JWTPayload): Promise<string>;
  /** Replaces the key with a new one. */
  rotate(): Promise<void>;
}

/** Creates an issuer, and a verifier that trusts only this issuer. */
export async function testIssuer(clock: Clock): Promise<TestIssuer> {
  const ended = new Set<string>();
  const withdrawn = new Set<string>();
  let serial = 0;
  let keyCount = 0;
  let key = await makeKey();

  async function makeKey() {
    const { privateKey, publicKey } = await generateKeyPair("EdDSA");
    const kid = `k${++keyCount}`;
    return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "EdDSA" } };
  }
  const jwks = () => JSON.stringify({ keys: [key.jwk] });

  return {
    ended,
    withdrawn,
    jwks,
    verifier: createTokenVerifier({
      jwks: async () => jwks(),
      issuer: ISSUER,
      audience: AUDIENCE,
      clock,
      revocations: {
        revoked: (loginId) => ended.has(loginId),
        keyState: (keyId) => (withdrawn.has(keyId) ? "withdrawn" : "published"),
      },
    }),
    async token(claims = {}) {
      const now = Math.floor(clock.now() / 1000);
      const payload = {
        iss: ISSUER,
        aud: AUDIENCE,
        sub: "1",
        sid: "l1",
        did: "d1",
        dcl: DeviceClass.MOBILE,
        role: "user",
        iat: now,
        exp: now + 900,
        jti: `t${++serial}`,
        ...claims,
      };
      const header = { alg: "EdDSA", kid: key.kid };
      return new SignJWT(payload).setProtectedHeader(header).sign(key.privateKey);
    },
    async rotate() {
      key = await makeKey();
    },
  };
}
