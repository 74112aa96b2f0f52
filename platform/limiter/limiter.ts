/** A budget: `points` per `windowMs`, for each key. */
export interface Budget {
  /** Part of the storage key, and a metric label. */
  readonly name: string;
  readonly points: number;
  readonly windowMs: number;
  /**
   * While the store cannot be reached, the process counts alone instead of allowing every call: for
   * a budget that is a security measure.
   */
  readonly countsAlone?: true;
}

/**
 * Result of `take`: whether the call is within the budget, and if not, the delay until a retry can
 * succeed.
 */
export type Taken =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly retryAfterMs: number };

/**
 * The delay after failures: none for the first few, then one that doubles with each further
 * failure.
 */
export interface Penalty {
  /** Part of the storage key, and a metric label. */
  readonly name: string;
  /** Number of failures without a delay; further failures delay the next attempt. */
  readonly freeFailures: number;
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** Failures are reset when none was added for this time. */
  readonly forgetMs: number;
}

/**
 * Rate limits: counts calls and failures over all instances. Adapters: memory, Redis. While the
 * store cannot be reached, every `take` is allowed, because most budgets are no security measure.
 * Failures, and budgets with `countsAlone`, are then counted in the process alone.
 */
export interface Limiter {
  /**
   * Takes points from the key's budget; one when `points` is absent. A take of more points than the
   * budget has can only be the first of a window, which then lasts as many times longer: on average
   * the key does not get more than its budget. 0 points take nothing: the answer is the one that a
   * take of one point would get.
   */
  take(budget: Budget, key: string, points?: number): Promise<Taken>;
  /** Remaining delay of the key, milliseconds; 0 for none. Changes nothing. */
  waiting(penalty: Penalty, key: string): Promise<number>;
  /**
   * Admits an attempt when it returns 0. Returns the remaining delay like `waiting`, but admits at
   * most one attempt per delay for a key that has used up its free failures, also when many
   * attempts race: the other attempts get the time until the next one is allowed.
   */
  admit(penalty: Penalty, key: string): Promise<number>;
  /** Counts a failure and restarts the key's delay. Returns the delay, milliseconds. */
  penalize(penalty: Penalty, key: string): Promise<number>;
  /** Resets the key's failures and its delay. */
  pardon(penalty: Penalty, key: string): Promise<void>;
  /** Releases memory and connections. Idempotent. */
  close(): Promise<void>;
}

/** Number of windows of a budget that a take of `points` uses. */
export function windowsOf({ points: max }: Budget, points: number): number {
  return Math.max(1, Math.ceil(points / max));
}

/** Delay of a key after a number of failures, milliseconds. */
export function waitAfter(penalty: Penalty, failures: number): number {
  const further = failures - penalty.freeFailures;
  if (further < 0) return 0;
  return Math.min(penalty.longestWaitMs, penalty.firstWaitMs * 2 ** Math.min(further, 40));
}
