import { createClient, type Transport } from "@connectrpc/connect";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import { type Revocations, watchRevocations } from "./revocations.ts";
import { AUDIENCE, createTokenVerifier, ISSUER, type TokenVerifier } from "./tokens.ts";

/** Identifies the callers of a process. */
export interface Identity {
  readonly verifier: TokenVerifier;
  readonly revocations: Revocations;
  /** The transport to auth, over which keys and ended logins are fetched. */
  readonly transport: Transport;
  /** Whether the ended logins are loaded. Before that, a revoked token would be accepted. */
  ready(): boolean;
  close(): void;
}

export interface IdentityOptions {
  /**
   * Creates the transport to auth. In auth's own process, the local transport uses this verifier
   * too.
   */
  readonly transport: (verifier: TokenVerifier) => Transport;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Interval at which auth is polled for ended logins. Gateway and connect receive an ended login
 * from the bus at once, and polling covers lost messages. Auth and server only poll: with the round
 * trip they learn of an ended login within a second.
 */
const REVOCATIONS_POLL_MS = 500;
/** Time-out of a call that waits for the ended logins at the start. */
const REVOCATIONS_TIMEOUT_MS = 5_000;

/** Verifies access tokens with the keys and the ended logins that it fetches from auth. */
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
      if (!loaded) await waitForRevocations();
      return tokens.verify(token);
    },
    known: (token) => (loaded ? tokens.known?.(token) : undefined),
  };
  const transport = makeTransport(verifier);
  const auth = createClient(AuthService, transport);
  const revocations = watchRevocations({
    client: createClient(SessionService, transport),
    clock,
    intervalMs: REVOCATIONS_POLL_MS,
    log,
  });
  let loaded = false;
  const loading = revocations.loaded.then(() => {
    loaded = true;
  });

  /** Until the ended logins are loaded, the token of an ended login would be accepted. */
  async function waitForRevocations(): Promise<void> {
    const timeout = Promise.withResolvers<never>();
    const timer = clock.after(REVOCATIONS_TIMEOUT_MS, () =>
      timeout.reject(fail(ErrorReason.UNAVAILABLE, "the ended logins are not loaded yet")),
    );
    await Promise.race([loading, timeout.promise]).finally(() => timer.stop());
  }

  return {
    verifier,
    revocations,
    transport,
    ready: () => loaded,
    close: () => revocations.close(),
  };
}
