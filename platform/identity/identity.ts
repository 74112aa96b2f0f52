import { createClient, type Transport } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { type Revocations, watchRevocations } from "./revocations.ts";
import { AUDIENCE, createTokenVerifier, ISSUER, type TokenVerifier } from "./tokens.ts";

/** What a process needs to tell who calls. */
export interface Identity {
  readonly verifier: TokenVerifier;
  readonly revocations: Revocations;
  /** The way to auth that it learns from. */
  readonly transport: Transport;
  /** Whether the ended logins are known; before that a revoked token would pass. */
  ready(): boolean;
  close(): void;
}

export interface IdentityOptions {
  /** Makes the way to auth; auth itself, in the same process, verifies tokens on that way too. */
  readonly transport: (verifier: TokenVerifier) => Transport;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Time between two questions. Gateway and connect hear of an ended login by the bus, at once; asking
 * is the net under it, and what auth and server go by: with the answer's way, within a second.
 */
const REVOCATIONS_EVERY_MS = 500;
/** How long a call waits for the ended logins at the start. */
const PATIENCE_MS = 5_000;

/** Verifies access tokens with the keys and the ended logins that auth tells. */
export function createIdentity({
  transport: makeTransport,
  clock,
  log,
}: IdentityOptions): Identity {
  const tokens = createTokenVerifier({
    jwks: async () => (await auth.getJwks({})).jwksJson,
    issuer: ISSUER,
    audience: AUDIENCE,
    clock,
    revocations: {
      revoked: (loginId) => revocations.revoked(loginId),
      keyState: (keyId) => revocations.keyState(keyId),
    },
  });
  const verifier: TokenVerifier = {
    async verify(token) {
      if (!known) await knownInTime();
      return tokens.verify(token);
    },
  };
  const transport = makeTransport(verifier);
  const auth = createClient(AuthService, transport);
  const revocations = watchRevocations({
    client: createClient(SessionService, transport),
    clock,
    intervalMs: REVOCATIONS_EVERY_MS,
    log,
  });
  let known = false;
  const loaded = revocations.loaded.then(() => {
    known = true;
  });

  /** Before the ended logins are known, a token whose login has ended would pass. */
  async function knownInTime(): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = clock.after(PATIENCE_MS, () =>
      late.reject(fail(ErrorReason.UNAVAILABLE, "the ended logins are not known yet")),
    );
    await Promise.race([loaded, late.promise]).finally(() => timer.stop());
  }

  return {
    verifier,
    revocations,
    transport,
    ready: () => known,
    close: () => revocations.close(),
  };
}
