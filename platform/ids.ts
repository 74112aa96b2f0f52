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
  /** The next `count` ids, ascending. Reads the clock and the window once for all of them. */
  take(count: number): bigint[];
  /**
   * Creates one id per bucket (0 to 1023), in the order of the input: its low ten bits are the bucket.
   * Each id skips up to 1,023 ids that `take` would return, fewer when many are created at once.
   */
  inBuckets(buckets: readonly number[]): bigint[];
}

/** A positive 64-bit integer in decimal, as a bigint; undefined for any other text. */
export function parseId(text: string): bigint | undefined {
  if (!/^[1-9]\d{0,18}$/.test(text)) return undefined;
  const id = BigInt(text);
  return id < 1n << 63n ? id : undefined;
}

/** Start of the time in ids, milliseconds since the Unix epoch. */
export const ID_EPOCH_MS = Date.UTC(2025, 0, 1);

/** End of the time in ids, in 2094: 41 bits. Milliseconds since the Unix epoch. */
export const ID_END_MS = ID_EPOCH_MS + 2 ** 41;

/**
 * A worker number, and the times in ids that are reserved for its holder. No other holder of the
 * number, earlier or later, creates an id with one of these times.
 */
export interface IdWindow {
  /** 0 to 1023. */
  readonly worker: number;
  /** First time of the window, milliseconds since the Unix epoch. */
  readonly fromMs: number;
  /** End of the window, exclusive, milliseconds since the Unix epoch. */
  readonly untilMs: number;
}

export interface IdsOptions {
  /**
   * Returns the current window, and throws when there is none. `usedMs` is the greatest time in the
   * ids so far, milliseconds since the Unix epoch; later windows must end after it.
   */
  readonly window: (usedMs: number) => IdWindow;
  readonly clock: Pick<Clock, "now">;
}

const COUNTER_BITS = 12;
const COUNTER_END = 1 << COUNTER_BITS;
const TIME_SHIFT = 22n;
/** The low ten bits of the counter. */
const BUCKET_MASK = 1_023;
/** Back-off for callers when all ids of the window are used: the window moves every few seconds. */
const WINDOW_USED_RETRY_MS = 1_000;

/**
 * Creates a source of snowflake ids: 41 bits of milliseconds since 2025-01-01, 10 bits of worker
 * number, 12 bits of counter.
 *
 * The time in ids is the time of day while that lies in the window and moves forward. When it steps
 * back, when it steps beyond the window, or when a millisecond needs more than 4,096 ids, the ids
 * continue from the last millisecond used. They are unique because windows are, whatever the clock
 * does. Throws UNAVAILABLE when all ids of the window are used, four million for each of its seconds.
 */
export function createIds({ window, clock }: IdsOptions): Ids {
  /** Time and counter of the last id, and the worker number in it. */
  let lastMs = ID_EPOCH_MS;
  let counter = 0;
  let lastWorker = -1;

  /**
   * Creates `count` ids. `counterAt` returns the counter of an id: the lowest allowed counter from
   * `next` on. It may be beyond the end of the millisecond, but by less than a millisecond.
   */
  function make(count: number, counterAt: (next: number, at: number) => number): bigint[] {
    const { worker, fromMs, untilMs } = window(lastMs);
    const nowMs = clock.now();
    // Ids with another worker number start with a new millisecond, or they might not be greater.
    let ms = Math.max(worker === lastWorker ? lastMs : lastMs + 1, fromMs);
    if (nowMs > ms && nowMs < untilMs) ms = nowMs;
    let next = ms === lastMs ? counter + 1 : 0;
    const endMs = Math.min(untilMs, ID_END_MS);
    const ids = new Array<bigint>(count);
    for (let at = 0; at < count; at++) {
      next = counterAt(next, at);
      if (next >= COUNTER_END) {
        ms++;
        next -= COUNTER_END;
      }
      if (ms >= endMs)
        throw fail(ErrorReason.UNAVAILABLE, "all reserved ids are used", {
          retryAfterMs: WINDOW_USED_RETRY_MS,
        });
      const time = BigInt(ms - ID_EPOCH_MS);
      ids[at] = (time << TIME_SHIFT) | BigInt((worker << COUNTER_BITS) | next);
      next++;
    }
    lastMs = ms;
    counter = next - 1;
    lastWorker = worker;
    return ids;
  }

  const take = (count: number) => make(count, (next) => next);
  return {
    next: () => take(1)[0]!.toString(),
    take,
    inBuckets(buckets) {
      // In ascending order of the buckets, one pass over the counters serves all of them.
      const order = [...buckets.keys()].sort((a, b) => buckets[a]! - buckets[b]!);
      const made = make(buckets.length, (next, at) => {
        const bucket = buckets[order[at]!]!;
        return next + ((bucket - next) & BUCKET_MASK);
      });
      const ids = new Array<bigint>(buckets.length);
      for (const [at, index] of order.entries()) ids[index] = made[at]!;
      return ids;
    },
  };
}
