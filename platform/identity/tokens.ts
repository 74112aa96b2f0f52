import {
  createLocalJWKSet,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  type LocalJWKSet,
} from "jose";
import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { ROLES, type UserCaller } from "./caller.ts";
import type { Revocations } from "./revocations.ts";
import { createVerifiedTokens } from "./verified-tokens.ts";

/** Identifies the user of an access token. */
export interface TokenVerifier {
  /**
   * Verifies an access token. Rejects with TOKEN_INVALID, TOKEN_REVOKED, or TOKEN_EXPIRED, also
   * when the token's key was withdrawn: its device may refresh the token. Rejects with UNAVAILABLE
   * when the keys cannot be fetched, so that the token cannot be checked.
   */
  verify(token: string): Promise<UserCaller>;
  /** The user of a token that was verified before and is still valid. Costs no cryptography. */
  known?(token: string): UserCaller | undefined;
}

export interface TokenVerifierOptions {
  /** The key set as JSON, from AuthService.GetJwks. */
  readonly jwks: () => Promise<string>;
  readonly issuer: string;
  readonly audience: string;
  readonly clock: Clock;
  readonly revocations: Pick<Revocations, "revoked" | "keyState">;
}

/** Issuer of access tokens (claim `iss`). */
export const ISSUER = "lucky";
/** Audience of access tokens (claim `aud`). */
export const AUDIENCE = "lucky";

const MAX_TOKEN_LENGTH = 4096;
const MAX_CACHED_TOKENS = 50_000;
/** An unknown key id causes a new fetch of the keys, but at most one in this time. */
const REFETCH_MS = 3_000;
/**
 * The cached keys are stale after this time and are refetched, which drops keys that are no
 * longer published. Withdrawn keys are rejected at once.
 */
const STALE_MS = 300_000;

/**
 * Verifies access tokens: JWT signed with EdDSA (Ed25519) by a key of the set. Verified tokens are
 * cached until they expire, so that most calls cost one look-up. The end of the login and the
 * withdrawal of the key are checked in each call.
 */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { issuer, audience, clock, revocations } = options;
  const keys = keySet(options);
  const verified = createVerifiedTokens({ clock, max: MAX_CACHED_TOKENS });

  /** Interned key ids: the cached tokens of all sessions share one string per key. */
  const keyIds = new Map<string, string>();

  const isExpired = ({ expiresAtMs, keyId }: UserCaller) =>
    expiresAtMs <= clock.now() || revocations.keyState(keyId) === "withdrawn";

  function requireCurrent(caller: UserCaller): UserCaller {
    if (isExpired(caller)) {
      throw fail(ErrorReason.TOKEN_EXPIRED, "the access token has expired");
    }
    if (revocations.revoked(caller.loginId)) {
      throw fail(ErrorReason.TOKEN_REVOKED, "the login was ended");
    }
    return caller;
  }

  return {
    known(token) {
      const caller = verified.get(token);
      if (caller === undefined || isExpired(caller)) return undefined;
      return revocations.revoked(caller.loginId) ? undefined : caller;
    },
    async verify(token) {
      const known = verified.get(token);
      if (known !== undefined) return requireCurrent(known);
      if (token.length > MAX_TOKEN_LENGTH) throw invalid();
      let payload: JWTPayload;
      let kid: string | undefined;
      try {
        const checks = {
          algorithms: ["EdDSA"],
          issuer,
          audience,
          requiredClaims: ["sub", "sid", "did", "dcl", "role", "iat", "exp", "jti"],
          currentDate: new Date(clock.now()),
        };
        const { payload: claims, protectedHeader } = await jwtVerify(token, keys, checks);
        [payload, kid] = [claims, protectedHeader.kid];
      } catch (error) {
        if (error instanceof errors.JWTExpired) {
          throw fail(ErrorReason.TOKEN_EXPIRED, "the access token has expired", { cause: error });
        }
        if (error instanceof errors.JOSEError) throw invalid(error);
        throw error;
      }
      if (!isText(kid)) throw invalid();
      const keyId = keyIds.get(kid) ?? kid;
      keyIds.set(keyId, keyId);
      const caller = requireCurrent(callerOf(payload, { keyId, token }));
      verified.set(caller);
      return caller;
    },
  };
}

function invalid(cause?: unknown) {
  return fail(ErrorReason.TOKEN_INVALID, "the access token is not valid", { cause });
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

function callerOf(
  { sub, sid, did, dcl, role, exp }: JWTPayload,
  { keyId, token }: Pick<UserCaller, "keyId" | "token">,
): UserCaller {
  const known = typeof dcl === "number" && dcl !== 0 && DeviceClass[dcl] !== undefined;
  if (!isText(sub) || !/^[1-9]\d{0,18}$/.test(sub)) throw invalid();
  if (!isText(sid) || !isText(did) || !known || exp === undefined) throw invalid();
  const knownRole = ROLES.find((one) => one === role);
  if (!knownRole) throw invalid();
  return {
    kind: "user",
    userId: sub,
    deviceId: did,
    deviceClass: dcl,
    loginId: sid,
    role: knownRole,
    keyId,
    expiresAtMs: exp * 1000,
    token,
  };
}

/** The keys by id, fetched at the first use and refetched when an id is unknown. */
function keySet({ jwks, clock, revocations }: TokenVerifierOptions): JWTVerifyGetKey {
  let keys: LocalJWKSet | undefined;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let fetching: Promise<LocalJWKSet> | undefined;

  function fetch(): Promise<LocalJWKSet> {
    fetching ??= jwks()
      .then((json) => {
        keys = createLocalJWKSet(JSON.parse(json));
        fetchedAt = clock.elapsed();
        return keys;
      })
      .catch((cause: unknown) => {
        throw fail(ErrorReason.UNAVAILABLE, "the keys of access tokens cannot be fetched", {
          cause,
        });
      })
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  return async (header, token) => {
    // Reject a token without a key id: every key would have to be tried.
    if (!isText(header.kid)) throw new errors.JWKSNoMatchingKey();
    const state = revocations.keyState(header.kid);
    if (state === "withdrawn") {
      throw fail(ErrorReason.TOKEN_EXPIRED, "the key of the access token was withdrawn");
    }
    const age = clock.elapsed() - fetchedAt;
    // A failed fetch of stale keys is ignored: the cached keys still verify.
    if (keys !== undefined && age >= STALE_MS) await fetch().catch(() => {});
    try {
      return await (keys ?? (await fetch()))(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // Refetch immediately only when auth publishes the key: then the cached key set is stale.
      if (age < REFETCH_MS && state !== "published") throw error;
    }
    return (await fetch())(header, token);
  };
}
