import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Budget, Limiter, Penalty } from "#platform/limiter/limiter.ts";
import { networkOf } from "#platform/network.ts";
import type { AuthConfig } from "../config.ts";

/** An attempt to prove who one is. */
export interface Attempt {
  /** What is attacked, see `provePassword`. */
  readonly account: string;
  /** Where it comes from, counted by network; undefined for the same process. */
  readonly address: string | undefined;
}

/** How an account stands before an attempt. */
export type LockState =
  | { readonly kind: "free" }
  /**
   * Refuse it whatever it proves, and do not count it as failed. Say so only to who proves the right
   * password, and only when it `tells`: too many attempts while the account is locked get one
   * answer, or the lock would be a way to guess on.
   */
  | { readonly kind: "locked"; readonly retryAfterMs: number; readonly tells: boolean };

/** Makes guessing slow: per account, per address and per pair, with a growing delay. */
export interface BruteForceGuard {
  /** Throws RATE_LIMITED when the address has to wait; else says how the account stands. */
  check(attempt: Attempt): Promise<LockState>;
  /** The attempt failed: the next one waits longer. */
  failed(attempt: Attempt): Promise<void>;
  /** The attempt succeeded: the account's and the pair's failures are forgotten. */
  succeeded(attempt: Attempt): Promise<void>;
}

/** Attempts on a locked account that may learn that it is locked, in each longest wait. */
const TOLD = 20;

export function createBruteForceGuard({
  config,
  limiter,
}: {
  config: Pick<
    AuthConfig,
    | "loginDelayMs"
    | "loginForgetSeconds"
    | "loginFreeFailures"
    | "loginFreeFailuresPerAddress"
    | "loginMaxDelayMs"
  >;
  limiter: Limiter;
}): BruteForceGuard {
  const times = {
    firstWaitMs: config.loginDelayMs,
    longestWaitMs: Math.max(config.loginDelayMs, config.loginMaxDelayMs),
    forgetMs: config.loginForgetSeconds * 1_000,
  };
  const perAccount: Penalty = {
    name: "login_account",
    freeFailures: config.loginFreeFailures,
    ...times,
  };
  const perPair: Penalty = { ...perAccount, name: "login_pair" };
  const perAddress: Penalty = {
    name: "login_address",
    freeFailures: config.loginFreeFailuresPerAddress,
    ...times,
  };
  const told: Budget = { name: "login_locked", points: TOLD, windowMs: times.longestWaitMs };

  const addressOf = ({ address }: Attempt) => networkOf(address ?? "local");
  const pairOf = (attempt: Attempt) => `${addressOf(attempt)} ${attempt.account}`;

  async function locked(account: string, retryAfterMs: number): Promise<LockState> {
    const { allowed: tells } = await limiter.take(told, account);
    return { kind: "locked", retryAfterMs, tells };
  }

  return {
    async check(attempt) {
      const { account } = attempt;
      const pair = pairOf(attempt);
      const [address, ...waits] = await Promise.all([
        limiter.waiting(perAddress, addressOf(attempt)),
        limiter.waiting(perPair, pair),
        limiter.waiting(perAccount, account),
      ]);
      if (address > 0)
        throw fail(ErrorReason.RATE_LIMITED, "too many wrong passwords from this address", {
          retryAfterMs: address,
        });
      if (Math.max(...waits) > 0) return locked(account, Math.max(...waits));
      // Looked first: who has to wait for the one must not use up the other's turn.
      const turns = await Promise.all([
        limiter.admit(perPair, pair),
        limiter.admit(perAccount, account),
      ]);
      if (Math.max(...turns) > 0) return locked(account, Math.max(...turns));
      return { kind: "free" };
    },
    async failed(attempt) {
      await Promise.all([
        limiter.penalize(perAddress, addressOf(attempt)),
        limiter.penalize(perPair, pairOf(attempt)),
        limiter.penalize(perAccount, attempt.account),
      ]);
    },
    async succeeded(attempt) {
      await Promise.all([
        limiter.pardon(perPair, pairOf(attempt)),
        limiter.pardon(perAccount, attempt.account),
      ]);
    },
  };
}
