import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Budget, Limiter, Penalty } from "#platform/limiter/limiter.ts";
import { networkOf } from "#platform/network.ts";
import type { AuthConfig } from "../config.ts";

/** One login attempt, or another attempt to prove the password of an account. */
export interface Attempt {
  /** The key of the account that failures are counted by, see `requirePassword`. */
  readonly account: string;
  /** Address of the caller, counted by network; undefined for calls within the process. */
  readonly address: string | undefined;
}

/** Whether an account is locked before an attempt. */
export type LockState =
  | { readonly kind: "free" }
  /**
   * The caller must refuse the attempt even with the right password, and must not count it as
   * failed. It may disclose the lock only to a caller with the right password, and only when
   * `disclose` is set. Past a bound, all attempts on a locked account get the same answer:
   * otherwise guessing could continue, because a disclosed lock confirms the password.
   */
  | { readonly kind: "locked"; readonly retryAfterMs: number; readonly disclose: boolean };

/**
 * Throttles password guessing (brute force) per account, per address and per pair of both. After
 * some free failures every further failure doubles the delay (exponential back-off).
 */
export interface BruteForceGuard {
  /** Whether the account is locked. Throws RATE_LIMITED while the address is throttled. */
  check(attempt: Attempt): Promise<LockState>;
  /** Counts a failed attempt: the next delay is longer. */
  failed(attempt: Attempt): Promise<void>;
  /** Clears the failures of the account and of the pair. The address keeps its failures. */
  succeeded(attempt: Attempt): Promise<void>;
}

/**
 * Attempts on a locked account that may learn of the lock in a day. Each of them tells whether a
 * password is right, so the bound holds over all waits of that day.
 */
const MAX_LOCK_DISCLOSURES_PER_DAY = 20;
const DAY_MS = 86_400_000;

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
  limiter: Omit<Limiter, "close">;
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
  const disclosures: Budget = {
    name: "login_locked",
    points: MAX_LOCK_DISCLOSURES_PER_DAY,
    windowMs: DAY_MS,
    countsAlone: true,
  };

  const addressOf = ({ address }: Attempt) => networkOf(address ?? "local");
  const pairOf = (attempt: Attempt) => `${addressOf(attempt)} ${attempt.account}`;

  async function locked(account: string, retryAfterMs: number): Promise<LockState> {
    const { allowed: disclose } = await limiter.take(disclosures, account);
    return { kind: "locked", retryAfterMs, disclose };
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
      // All delays are read before `admit`: an attempt that one penalty delays must not use up a
      // slot of another penalty.
      const delays = await Promise.all([
        limiter.admit(perPair, pair),
        limiter.admit(perAccount, account),
      ]);
      if (Math.max(...delays) > 0) return locked(account, Math.max(...delays));
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
