/** A budget: `points` a `windowMs`, per key. */
export interface Budget {
  /** Name of the budget: part of the key and a metric label. */
  readonly name: string;
  readonly points: number;
  readonly windowMs: number;
}

/** Whether the call fits the budget, and if not, when it will. */
export type Taken =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly retryAfterMs: number };

/** What failures cost: nothing for the first few, then a wait that doubles with every further one. */
export interface Penalty {
  /** Name of the penalty: part of the key and a metric label. */
  readonly name: string;
  /** With so many failures the waiting begins. */
  readonly freeFailures: number;
  readonly firstWaitMs: number;
  readonly longestWaitMs: number;
  /** After so long without a failure, failures are forgotten. */
  readonly forgetMs: number;
}

/**
 * Counts what callers use up and where they fail, over all instances. Adapters: memory, Redis. When
 * its store cannot be reached it allows whatever is taken (a budget is a courtesy, not a lock) and
 * counts failures in the process alone (a penalty is a lock).
 */
export interface Limiter {
  /** Takes points from the key's budget. */
  take(budget: Budget, key: string, points?: number): Promise<Taken>;
  /** How long the key has to wait, milliseconds; 0 for not at all. Changes nothing. */
  waiting(penalty: Penalty, key: string): Promise<number>;
  /**
   * Begins an attempt: as `waiting`, but a key whose failures are not free any more has at most one
   * attempt in each wait, however many begin at once: the others read when the next one may.
   */
  admit(penalty: Penalty, key: string): Promise<number>;
  /** Counts a failure; the key's wait begins anew. Returns it, milliseconds. */
  penalize(penalty: Penalty, key: string): Promise<number>;
  /** Forgets the key's failures and its wait. */
  pardon(penalty: Penalty, key: string): Promise<void>;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** How long a key waits after so many failures, milliseconds. */
export function waitAfter(penalty: Penalty, failures: number): number {
  const further = failures - penalty.freeFailures;
  if (further < 0) return 0;
  return Math.min(penalty.longestWaitMs, penalty.firstWaitMs * 2 ** Math.min(further, 40));
}
