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

/** Says who an access token belongs to. */
export interface TokenVerifier {
  /**
   * Verifies an access token. Rejects with TOKEN_INVALID, TOKEN_EXPIRED (also when the token's key was
   * withdrawn: its device may get another one) or TOKEN_REVOKED; with
   * UNAVAILABLE when the keys cannot be had, so that nothing can be said of the token.
   */
  verify(token: string): Promise<UserCaller>;
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
const MAX_CACHED = 50_000;
/** An unknown key id asks for the keys again, but not more often than this. */
const REFETCH_MS = 3_000;
/** Keys that are needed no more are forgotten after this; those withdrawn count no more at once. */
const STALE_MS = 300_000;

/**
 * Verifies access tokens: JWT signed with EdDSA (Ed25519) by a key of the set. Verified tokens are
 * remembered until they expire, so that most calls cost a look-up; whether the login has ended or the
 * key was withdrawn is checked each time.
 */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { issuer, audience, clock, revocations } = options;
  const keys = keySet(options);
  const verified = createVerifiedTokens({ clock, max: MAX_CACHED });

  /** Key ids as they were first read: one text for the tokens of all sessions. */
  const keyIds = new Map<string, string>();

  function current(caller: UserCaller): UserCaller {
    if (caller.expiresAtMs <= clock.now() || revocations.keyState(caller.keyId) === "withdrawn") {
      throw fail(ErrorReason.TOKEN_EXPIRED, "the access token has expired");
    }
    if (revocations.revoked(caller.loginId)) {
      throw fail(ErrorReason.TOKEN_REVOKED, "the login was ended");
    }
    return caller;
  }

  return {
    async verify(token) {
      const known = verified.get(token);
      if (known !== undefined) return current(known);
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
      if (!text(kid)) throw invalid();
      const keyId = keyIds.get(kid) ?? kid;
      keyIds.set(keyId, keyId);
      const caller = current(callerOf(payload, { keyId, token }));
      verified.set(caller);
      return caller;
    },
  };
}

function invalid(cause?: unknown) {
  return fail(ErrorReason.TOKEN_INVALID, "the access token is not valid", { cause });
}

const text = (value: unknown): value is string => typeof value === "string" && value !== "";

function callerOf(
  { sub, sid, did, dcl, role, exp }: JWTPayload,
  { keyId, token }: Pick<UserCaller, "keyId" | "token">,
): UserCaller {
  const known = typeof dcl === "number" && dcl !== 0 && DeviceClass[dcl] !== undefined;
  if (!text(sub) || !/^[1-9]\d{0,18}$/.test(sub)) throw invalid();
  if (!text(sid) || !text(did) || !known || exp === undefined) throw invalid();
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

/** The keys by id, fetched when first needed and again when an id is unknown. */
function keySet({ jwks, clock, revocations }: TokenVerifierOptions): JWTVerifyGetKey {
  let keys: LocalJWKSet | undefined;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let fetching: Promise<LocalJWKSet> | undefined;

  function fetch(): Promise<LocalJWKSet> {
    fetching ??= jwks()
      .then((json) => {
        keys = createLocalJWKSet(JSON.parse(json));
        fetchedAt = clock.now();
        return keys;
      })
      .catch((cause: unknown) => {
        throw fail(ErrorReason.UNAVAILABLE, "the keys of access tokens cannot be had", { cause });
      })
      .finally(() => {
        fetching = undefined;
      });
    return fetching;
  }

  return async (header, token) => {
    // Without a key id a signer could make us try every key.
    if (!text(header.kid)) throw new errors.JWKSNoMatchingKey();
    const state = revocations.keyState(header.kid);
    if (state === "withdrawn") {
      throw fail(ErrorReason.TOKEN_EXPIRED, "the key of the access token was withdrawn");
    }
    const age = clock.now() - fetchedAt;
    // Fresh keys are nice to have: those at hand go on while they cannot be fetched.
    if (keys !== undefined && age >= STALE_MS) await fetch().catch(() => {});
    try {
      return await (keys ?? (await fetch()))(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // One that auth tells of is worth asking for, whenever that was done last.
      if (age < REFETCH_MS && state !== "published") throw error;
    }
    return (await fetch())(header, token);
  };
}
