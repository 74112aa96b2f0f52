import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "./clock.ts";
import { fail } from "./errors.ts";

/** Source of ids that are unique in the whole installation. */
export interface Ids {
  /**
   * The next id: a positive 64-bit integer as a decimal string, greater than all earlier ids of
   * this source.
   */
  next(): string;
  /** The next `count` ids, ascending. Reads the clock and the worker number once for all of them. */
  take(count: number): bigint[];
}

/** A positive 64-bit integer in decimal, as a bigint; undefined for any other text. */
export function parseId(text: string): bigint | undefined {
  if (!/^[1-9]\d{0,18}$/.test(text)) return undefined;
  const id = BigInt(text);
  return id < 1n << 63n ? id : undefined;
}

/** Start of the time in ids, milliseconds since the Unix epoch. */
export const ID_EPOCH_MS = Date.UTC(2025, 0, 1);

const COUNTER_BITS = 12;
const COUNTER_END = 1 << COUNTER_BITS;
const TIME_SHIFT = 22n;
/** Maximum time by which the time in ids may be ahead of the clock, milliseconds. */
const MAX_AHEAD_MS = 1_000;

/**
 * Creates a source of snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of worker
 * number, 12 bits of counter.
 *
 * `worker` returns the leased worker number, 0 to 1023, and throws when there is none. When the
 * clock steps back, or a millisecond needs more than 4,096 ids, the ids continue from the last
 * millisecond used, up to 1 s ahead of the clock; beyond that `next` throws UNAVAILABLE. The source
 * never returns a duplicate id.
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
    if (endMs - nowMs > MAX_AHEAD_MS)
      throw fail(ErrorReason.UNAVAILABLE, "the clock stepped back; no ids until it catches up", {
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
