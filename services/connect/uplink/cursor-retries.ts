import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

export interface CursorRetriesOptions<T> {
  clock: Clock;
  log: Log;
  /** Maximum items that wait; further ones are dropped. */
  limit: number;
  /** Passes an item on again. */
  retry: (item: T) => void;
  /** Reports how many items were dropped. */
  dropped: (items: number, error: Error) => void;
}

/** Back-off before the first retry of an item, ms; each further one is twice as long, to the maximum. */
const FIRST_BACKOFF_MS = 2_000;
const MAX_BACKOFF_MS = 15_000;
/**
 * Retries of an item: they cover an outage of about an hour, because nothing repeats a read cursor. The
 * bound drops an item that always fails. Memory is bounded by `limit`.
 */
const RETRIES = 320;
/** Minimum time between two log lines about waiting items, ms. */
const LOG_INTERVAL_MS = 10_000;

/**
 * Cursors whose database failed, or whose batch had no answer after all its attempts. They wait for
 * their retries here, because in the queue of all cursors they would delay those of the other databases.
 */
export class CursorRetries<T extends { failures: number }> {
  readonly #options: CursorRetriesOptions<T>;
  readonly #waiting = new Map<Timer, readonly T[]>();
  #count = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: CursorRetriesOptions<T>) {
    this.#options = options;
  }

  /** Number of items that wait. */
  get count(): number {
    return this.#count;
  }

  /** Takes items that failed once more. Those without a retry left are dropped. */
  add(items: readonly T[]): void {
    const { limit } = this.#options;
    for (const item of items) item.failures += 1;
    const left = this.#closed ? [] : items.filter(({ failures }) => failures <= RETRIES);
    this.#drop(
      items.length - left.length,
      "the cursors failed for too long, or the instance stops",
    );
    const kept = left.slice(0, Math.max(0, limit - this.#count));
    this.#drop(left.length - kept.length, "too many cursors wait for a retry");
    for (const [failures, those] of Map.groupBy(kept, (item) => item.failures))
      this.#wait(those, failures);
    this.#report();
  }

  /** Passes all items on, and drops those that fail afterwards. */
  close(): void {
    this.#closed = true;
    for (const [timer, items] of this.#waiting) {
      timer.stop();
      for (const item of items) this.#options.retry(item);
    }
    this.#waiting.clear();
    this.#count = 0;
  }

  #wait(items: readonly T[], failures: number): void {
    const { clock, retry } = this.#options;
    const backoffMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 1));
    const timer = clock.after(backoffMs * (0.5 + Math.random() / 2), () => {
      this.#waiting.delete(timer);
      this.#count -= items.length;
      for (const item of items) retry(item);
    });
    this.#waiting.set(timer, items);
    this.#count += items.length;
  }

  #report(): void {
    const { clock, log } = this.#options;
    if (this.#count === 0 || clock.elapsed() - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    this.#loggedAtMs = clock.elapsed();
    log.warn({ event: "acknowledgements_delayed", cursors: this.#count });
  }

  #drop(count: number, reason: string): void {
    if (count > 0) this.#options.dropped(count, new Error(reason));
  }
}
