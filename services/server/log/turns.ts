import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";

/** Maximum works of one conversation that wait or run; further ones are refused. */
const MAX_WAITING = 1_000;
/** Back-off for refused callers, ms. */
const RETRY_AFTER_MS = 500;

/**
 * Runs works that lock a conversation's row one after the other in this process. Without it, each of them
 * would hold a connection of the pool while it waits for the lock, and sends to other conversations would
 * find none.
 */
export class Turns {
  /** By conversation: the end of the last work, and the number of works. */
  readonly #lanes = new Map<string, { last: Promise<unknown>; count: number }>();

  /** Runs work in its turn. Throws OVERLOADED when too many wait, and errors of the work. */
  async run<R>(conversationId: string, work: () => Promise<R>): Promise<R> {
    const lane = this.#lanes.get(conversationId) ?? { last: Promise.resolve(), count: 0 };
    if (lane.count >= MAX_WAITING)
      throw fail(ErrorReason.OVERLOADED, "too many changes of the conversation wait", {
        retryAfterMs: RETRY_AFTER_MS,
      });
    this.#lanes.set(conversationId, lane);
    lane.count++;
    const result = lane.last.then(work);
    lane.last = result.catch(() => {});
    try {
      return await result;
    } finally {
      lane.count--;
      if (lane.count === 0) this.#lanes.delete(conversationId);
    }
  }
}
