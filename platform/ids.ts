import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "./clock.ts";
import { fail } from "./errors.ts";

/** Source of ids that are unique in the whole installation. */
export interface Ids {
  /** The next id: a positive 64-bit integer as a decimal string, greater than all before it here. */
  next(): string;
  /** The next ids, ascending, as numbers: the clock and the worker number are asked once for all. */
  take(count: number): bigint[];
}

/** The millisecond that ids count from. */
export const ID_EPOCH_MS = Date.UTC(2025, 0, 1);

const COUNTER_BITS = 12;
const COUNTER_END = 1 << COUNTER_BITS;
const TIME_SHIFT = 22n;
/** How far the time in ids may run ahead of the clock, milliseconds. */
const AHEAD_MS = 1_000;

/**
 * Makes snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of worker number, 12 bits
 * of counter.
 *
 * `worker` gives the leased worker number, 0 to 1023, and throws when there is none. When the clock
 * steps back, or more than 4,096 ids are wanted in a millisecond, ids go on from the last
 * millisecond used, up to 1 s ahead of the clock; beyond that `next` throws UNAVAILABLE. No id is
 * given twice.
 */
export function createIds(options: { worker: () => number; clock: Clock }): Ids {
  const { worker, clock } = options;
  let lastMs = 0;
  let counter = 0;

  function take(count: number): bigint[] {
    const number = worker();
    const nowMs = clock.now() - ID_EPOCH_MS;
    let ms = Math.max(lastMs, nowMs);
    let next = ms === lastMs ? counter + 1 : 0;
    const endMs = ms + Math.floor((next + count - 1) / COUNTER_END);
    if (endMs - nowMs > AHEAD_MS)
      throw fail(ErrorReason.UNAVAILABLE, "the clock stepped back; ids have to wait for it", {
        retryAfterMs: endMs - nowMs,
      });
    const ids = new Array<bigint>(count);
    for (let at = 0; at < count; at++) {
      if (next === COUNTER_END) {
        ms++;
        next = 0;
      }
      ids[at] = (BigInt(ms) << TIME_SHIFT) | BigInt((number << COUNTER_BITS) | next);
      next++;
    }
    lastMs = ms;
    counter = next - 1;
    return ids;
  }

  return { next: () => take(1)[0]!.toString(), take };
}
