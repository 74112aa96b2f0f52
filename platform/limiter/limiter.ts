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

/**
 * Counts what callers use up, over all instances. When its store cannot be reached it allows: a
 * limit is a courtesy, not a lock. Adapters: memory, Redis.
 */
export interface Limiter {
  /** Takes points from the key's budget. */
  take(budget: Budget, key: string, points?: number): Promise<Taken>;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}
