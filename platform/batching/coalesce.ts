import type { Clock, Timer } from "#platform/clock.ts";
import { FlushLoop } from "./flush-loop.ts";
import { callInParts, isTransient } from "./parts.ts";

export interface CoalesceOptions<T> {
  clock: Clock;
  /** Maximum items in one call. */
  batchCount: number;
  /**
   * Default linger time of an item, ms: how long it may wait for others. 0: until the end of this
   * turn.
   */
  lingerMs: number;
  /**
   * Maximum waiting items; further items are dropped. A half-full queue is flushed without
   * lingering.
   */
  queueCount: number;
  /**
   * Maximum attempts of a batch whose call fails with UNAVAILABLE, DEADLINE_EXCEEDED or
   * RESOURCE_EXHAUSTED. Other errors are not retried: the batch is split until the bad items are
   * alone, and these are dropped.
   */
  attempts: number;
  call: (items: readonly T[]) => Promise<unknown>;
  /** Takes the items whose last attempt has failed; absent: they are dropped. */
  exhausted?: (items: readonly T[]) => void;
  /** Reports how many items were dropped. */
  dropped: (items: number, error: unknown) => void;
}

/**
 * Back-off after the first failed attempt of a call, ms; after the nth attempt it is n times as
 * long.
 */
const BACKOFF_MS = 200;

/**
 * Merges items of the same key while they wait, and flushes them in batches, one call at a time.
 * Items that arrive during a call still wait for their own linger time: otherwise few would be
 * merged under load. Lossy: a full queue and failed calls drop items.
 */
export class Coalescer<T> {
  readonly #options: CoalesceOptions<T>;
  readonly #loop: FlushLoop;
  readonly #waiting = new Map<string, T>();
  /** Ends the back-off before a retry. */
  #endBackOff: (() => void) | undefined;
  /** Items that the full queue dropped since the last report. */
  #overflow = 0;

  constructor(options: CoalesceOptions<T>) {
    this.#options = options;
    this.#loop = new FlushLoop({ clock: options.clock, flush: () => this.#flush() });
  }

  /** Whether no item waits or is in flight. */
  get idle(): boolean {
    return !this.#loop.flushing && this.#waiting.size === 0;
  }

  /** Number of items that the queue takes before it is half full. */
  get room(): number {
    return Math.max(0, Math.ceil(this.#options.queueCount / 2) - this.#waiting.size);
  }

  /**
   * Adds an item under a key; `join` merges it with the item that waits there, if any. The item is
   * flushed within its linger time, and all other waiting items with it.
   */
  put(key: string, join: (known: T | undefined) => T, lingerMs = this.#options.lingerMs): void {
    const known = this.#waiting.get(key);
    const full = this.#waiting.size >= this.#options.queueCount;
    if (known === undefined && (this.#loop.closed || full)) {
      this.#overflow++;
      if (!this.#loop.flushing) this.#reportOverflow();
      return;
    }
    this.#waiting.set(key, join(known));
    // A half-full queue is flushed at once, while it has room for items that arrive during the
    // flush.
    if (this.#halfFull && !this.#loop.flushing) void this.#loop.flushNow();
    else this.#loop.schedule(lingerMs);
  }

  /** Flushes the waiting items, without retries, and drops later ones. Resolves when it is done. */
  close(): Promise<void> {
    const closing = this.#loop.close();
    this.#endBackOff?.();
    return closing;
  }

  get #halfFull(): boolean {
    return this.#waiting.size * 2 >= this.#options.queueCount;
  }

  /**
   * Flushes the items that wait now. Items that arrive during the flush have their own linger time.
   */
  async #flush(): Promise<void> {
    for (let left = this.#waiting.size; left > 0; ) {
      const items = this.#take(Math.min(left, this.#options.batchCount));
      left -= items.length;
      await this.#call(items);
      this.#reportOverflow();
    }
    if (this.#halfFull) void this.#loop.flushNow();
  }

  #take(count: number): T[] {
    const items: T[] = [];
    for (const [key, item] of this.#waiting) {
      items.push(item);
      this.#waiting.delete(key);
      if (items.length === count) break;
    }
    return items;
  }

  /** Reports the dropped items together: there may be tens of thousands a second. */
  #reportOverflow(): void {
    const count = this.#overflow;
    this.#overflow = 0;
    if (count > 0) this.#options.dropped(count, new Error("the queue is full"));
  }

  async #call(batch: readonly T[]): Promise<void> {
    const { attempts, call, exhausted, dropped } = this.#options;
    let attempt = 1;
    let count = 0;
    let cause: unknown;
    await callInParts(
      batch,
      async (items) => {
        for (; ; attempt += 1) {
          try {
            await call(items);
            return;
          } catch (error) {
            if (!isTransient(error) || attempt >= attempts || this.#loop.closed) throw error;
          }
          await this.#backOff(BACKOFF_MS * attempt);
        }
      },
      (items, error) => {
        if (exhausted !== undefined && isTransient(error)) return exhausted(items);
        count += items.length;
        cause = error;
      },
    );
    if (count > 0) dropped(count, cause);
  }

  async #backOff(ms: number): Promise<void> {
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#endBackOff = resolve;
      timer = this.#options.clock.after(ms, resolve);
    });
    this.#endBackOff = undefined;
    timer?.stop();
  }
}
