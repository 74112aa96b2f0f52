import { Code, ConnectError } from "@connectrpc/connect";

/** Codes of transient errors: the same call may succeed later. */
const TRANSIENT: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
]);
/** Codes of errors that do not depend on the items: a call with other items fails as well. */
const INDEPENDENT_OF_ITEMS: ReadonlySet<Code> = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.Unimplemented,
  Code.Canceled,
]);

/**
 * Maximum splits of one batch, each with two more calls. Parts that fail after them are not split:
 * all of their items fail. The search for one bad item of 512 takes nine splits.
 */
const MAX_SPLITS = 32;

/** Whether a retry of a failed call, without any change, may succeed. */
export function isTransient(error: unknown): boolean {
  return TRANSIENT.has(ConnectError.from(error).code);
}

/**
 * Calls `call` with a batch of items. After an error that one item may have caused, retries with each
 * half of the items, one after the other, so that a bad item fails alone. Reports the failed items to
 * `failed`. Rejects only when `failed` throws; then the remaining items are skipped.
 */
export async function callInParts<T>(
  batch: readonly T[],
  call: (items: readonly T[]) => Promise<void>,
  failed: (items: readonly T[], error: unknown) => void,
): Promise<void> {
  const parts = [batch];
  let splits = 0;
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    try {
      await call(part);
    } catch (error) {
      const { code } = ConnectError.from(error);
      const indivisible = part.length <= 1 || TRANSIENT.has(code) || INDEPENDENT_OF_ITEMS.has(code);
      if (indivisible || splits >= MAX_SPLITS) {
        failed(part, error);
        continue;
      }
      splits += 1;
      const half = Math.ceil(part.length / 2);
      parts.push(part.slice(half), part.slice(0, half));
    }
  }
}
