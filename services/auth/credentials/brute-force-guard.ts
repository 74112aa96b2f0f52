import { createHmac } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Budget, Limiter, Penalty } from "#platform/limiter/limiter.ts";
import { networkOf, SITE_FACTOR, siteOf } from "#platform/network.ts";
import type { AuthConfig } from "../config.ts";

/** One login attempt, or another attempt to prove the password of an account. */
export interface Attempt {
  /**
   * The key that failures are counted by: of the account, see `requirePassword`, or the name that
   * no account has.
   */
  readonly account: string;
  /** Whether the account exists. Names without an account share a bounded number of counters. */
  readonly exists: boolean;
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

/**
 * Counters of names without an account, and as many of pairs with an address: anybody can invent
 * names, and each counter is kept for a day. Names that share a counter are delayed together, which
 * the caller cannot see: an unknown name always gets CREDENTIALS_INVALID.
 */
const UNKNOWN_NAME_COUNTERS = 16_384;

export function createBruteForceGuard({
  config,
  limiter,
}: {
  config: Pick<
    AuthConfig,
    | "keyEncryptionKey"
    | "loginDelayMs"
    | "loginForgetSeconds"
    | "loginFreeFailures"
    | "loginFreeFailuresPerAddress"
    | "loginMaxDelayMs"
  >;
  limiter: Omit<Limiter, "close">;
}): BruteForceGuard {
  const penalty = (name: string, freeFailures: number): Penalty => ({
    name,
    freeFailures,
    firstWaitMs: config.loginDelayMs,
    longestWaitMs: Math.max(config.loginDelayMs, config.loginMaxDelayMs),
    forgetMs: config.loginForgetSeconds * 1_000,
  });
  /** The penalties of an attempt: their settings are live. */
  function penalties() {
    const { loginFreeFailures: free, loginFreeFailuresPerAddress: freePerAddress } = config;
    return {
      perAccount: penalty("login_account", free),
      perPair: penalty("login_pair", free),
      perAddress: penalty("login_address", freePerAddress),
      perSite: penalty("login_site", freePerAddress * SITE_FACTOR),
    };
  }
  const disclosures: Budget = {
    name: "login_locked",
    points: MAX_LOCK_DISCLOSURES_PER_DAY,
    windowMs: DAY_MS,
    countsAlone: true,
  };

  /**
   * The shared counter of an unknown name. The hash has a key, so nobody can choose names that
   * share a counter. All instances have the same key.
   */
  function sharedCounter(text: string): string {
    const mac = createHmac("sha256", config.keyEncryptionKey).update(`unknown name ${text}`);
    return `unknown:${mac.digest().readUInt32BE() % UNKNOWN_NAME_COUNTERS}`;
  }

  /** The keys that an attempt is counted by. */
  function keysOf({ account, exists, address = "local" }: Attempt) {
    const network = networkOf(address);
    const keys = { address: network, site: siteOf(address) };
    const pair = `${network} ${account}`;
    if (exists) return { ...keys, account, pair };
    return { ...keys, account: sharedCounter(account), pair: sharedCounter(pair) };
  }

  async function locked(account: string, retryAfterMs: number): Promise<LockState> {
    const { allowed: disclose } = await limiter.take(disclosures, account);
    return { kind: "locked", retryAfterMs, disclose };
  }

  return {
    async check(attempt) {
      const keys = keysOf(attempt);
      const { perAccount, perPair, perAddress, perSite } = penalties();
      const [site, address, ...waits] = await Promise.all([
        keys.site === undefined ? 0 : limiter.waiting(perSite, keys.site),
        limiter.waiting(perAddress, keys.address),
        limiter.waiting(perPair, keys.pair),
        limiter.waiting(perAccount, keys.account),
      ]);
      const retryAfterMs = Math.max(site, address);
      if (retryAfterMs > 0)
        throw fail(ErrorReason.RATE_LIMITED, "too many wrong passwords from this address", {
          retryAfterMs,
        });
      if (Math.max(...waits) > 0) return locked(keys.account, Math.max(...waits));
      // All delays are read before `admit`: an attempt that one penalty delays must not use up a
      // slot of another penalty.
      const delays = await Promise.all([
        limiter.admit(perPair, keys.pair),
        limiter.admit(perAccount, keys.account),
      ]);
      if (Math.max(...delays) > 0) return locked(keys.account, Math.max(...delays));
      return { kind: "free" };
    },
    async failed(attempt) {
      const keys = keysOf(attempt);
      const { perAccount, perPair, perAddress, perSite } = penalties();
      await Promise.all([
        keys.site === undefined ? 0 : limiter.penalize(perSite, keys.site),
        limiter.penalize(perAddress, keys.address),
        limiter.penalize(perPair, keys.pair),
        limiter.penalize(perAccount, keys.account),
      ]);
    },
    async succeeded(attempt) {
      const keys = keysOf(attempt);
      const { perAccount, perPair } = penalties();
      await Promise.all([
        limiter.pardon(perPair, keys.pair),
        limiter.pardon(perAccount, keys.account),
      ]);
    },
  };
}
