import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause } from "../clock.ts";
import { LuckyError } from "../error.ts";

/**
 * Calls until it succeeds, with growing back-off of at most 30 s. Throws a LuckyError when the failure is
 * final or the signal aborts. Only for calls that change nothing: they are repeated after a fault of the
 * server, too.
 */
export async function withRetries<T>(
  clock: Clock,
  signal: AbortSignal,
  call: () => Promise<T>,
): Promise<T> {
  const backoff = new Backoff({ firstMs: 500, longestMs: 30_000 });
  for (;;) {
    try {
      const answer = await call();
      signal.throwIfAborted();
      return answer;
    } catch (error) {
      const failure = LuckyError.from(error);
      const retryable = failure.retryable || failure.reason === ErrorReason.INTERNAL;
      if (signal.aborted || !retryable) throw failure;
      await pause(clock, backoff.next(failure.retryAfterMs), signal);
      if (signal.aborted) throw failure;
    }
  }
}
