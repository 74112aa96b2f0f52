import { createClient, type Transport } from "@connectrpc/connect";
import { AuthService } from "../gen/lucky/auth/v1/auth_pb.js";
import { SessionService } from "../gen/lucky/internal/session/v1/session_pb.js";
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";
import { type Revocations, watchRevocations } from "./revocations.ts";
import { createTokenVerifier, type TokenVerifier } from "./tokens.ts";

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

/** Time between two questions: with the answer's way, an ended login is known within a second. */
const revocationsEveryMs = 500;

/** Verifies access tokens with the keys and the ended logins that auth tells. */
export function createIdentity({
  transport: makeTransport,
  clock,
  log,
}: IdentityOptions): Identity {
  const verifier = createTokenVerifier({
    jwks: async () => (await auth.getJwks({})).jwksJson,
    issuer: "lucky",
    audience: "lucky",
    clock,
    revocations: { revoked: (loginId) => revocations.revoked(loginId) },
  });
  const transport = makeTransport(verifier);
  const auth = createClient(AuthService, transport);
  const revocations = watchRevocations({
    client: createClient(SessionService, transport),
    clock,
    intervalMs: revocationsEveryMs,
    log,
  });
  let known = false;
  void revocations.loaded.then(() => {
    known = true;
  });

  return {
    verifier,
    revocations,
    transport,
    ready: () => known,
    close: () => revocations.close(),
  };
}
