/** Retries that each call allows. */
const RETRIES_PER_CALL = 0.1;
/** Maximum retries in a burst, such as after the crash of an instance under little load. */
const BURST = 10;

/**
 * Bounds the retries of the calls to a service: at most one for ten calls, and a small burst.
 * Otherwise retries would double the load of a service that fails because it is overloaded.
 */
export interface RetryBudget {
  /** Counts a call. */
  call(): void;
  /** Takes a retry; returns false when none is left. */
  take(): boolean;
}

export function createRetryBudget(): RetryBudget {
  let left = BURST;
  return {
    call() {
      left = Math.min(BURST, left + RETRIES_PER_CALL);
    },
    take() {
      if (left < 1) return false;
      left -= 1;
      return true;
    },
  };
}
