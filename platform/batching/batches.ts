import type { Clock, Timer } from "#platform/clock.ts";

/** Key of items whose order is kept, such as a conversation. */
type Key = string | number;

export interface BatchesOptions<T> {
  /** Items of one key keep their order, and are in at most one batch in flight. */
  readonly key: (item: T) => Key;
  readonly bytes: (item: T) => number;
  /** Maximum items in one batch. */
  readonly batchCount: number;
  /** Maximum bytes of one batch; a single item may be larger. */
  readonly batchBytes: number;
  /** Maximum waiting items; `push` refuses more. */
  readonly queueCount: number;
  /** Maximum bytes of waiting items; `push` refuses more. */
  readonly queueBytes: number;
  /** Maximum batches in flight. */
  readonly inFlight: number;
  /**
   * Maximum time between the starts of two small batches, ms; 0 for none. A lone item is flushed at
   * once; only items that follow closely wait to share a batch.
   */
  readonly lingerMs: number;
  readonly clock: Clock;
  /** Flushes a batch. It may `hold` items back. Must not reject. */
  readonly flush: (batch: readonly T[]) => Promise<void>;
}

/** The waiting items of one key. */
interface Waiting<T> {
  readonly key: Key;
  items: T[];
  /** While above 0, no batch takes the items: a batch in flight counts as one, and so does each hold. */
  locks: number;
}

/**
 * Number of ready items at which another batch starts while batches are in flight. Fewer items
 * wait and share a batch: the fixed cost of a batch is higher than the cost of its items.
 */
const CONCURRENT_BATCH_COUNT = 128;

/**
 * Spacing of the starts of small batches, by the average duration of a batch, ms. A batch that
 * takes 0.8 ms runs on a database of the same machine. A batch that takes 2 ms crosses processes
 * that all wake up for it, and costs three times the processor time: there larger batches are
 * cheaper. Measured at 1,000 sends a second (bench `messages`), CPU of all servers for 1,000
 * messages, compared with a constant 1 ms: 0.58 s instead of 0.70 in one process, 0.88 instead of
 * 1.10 in a mesh. With the square instead of the fourth power, one process oscillated between 0.8
 * and 2.7 ms. A timer rounds up to whole milliseconds; an item that arrives after the spacing is
 * flushed at once.
 */
const spacingFor = (durationMs: number): number => durationMs + 0.8 * durationMs ** 4;
/** Weight of the last batch in the moving average of durations. */
const AVERAGE_WEIGHT = 1 / 16;
/** Waits shorter than this (ms) are not worth a timer: flush at once. */
const MIN_WAIT_MS = 0.3;

/**
 * A bounded queue whose items are flushed in batches: items that arrive while a batch is in flight
 * join the next one. Under light load one batch is in flight at a time; under heavy load up to
 * `inFlight` are. `push` refuses items when the queue is full.
 *
 * It does not use FlushLoop: it spaces its flushes by their average duration, starts a concurrent
 * one only for many items, and has each key in at most one batch in flight.
 */
export class Batches<T> {
  readonly #options: BatchesOptions<T>;
  /** Keys with items that wait or are in flight. */
  readonly #keys = new Map<Key, Waiting<T>>();
  /** Keys without locks, in the order of arrival, from `#head` on. */
  #ready: Waiting<T>[] = [];
  #head = 0;
  /** Waiting items of ready keys. */
  #readyItems = 0;
  /** Number of waiting and held items. */
  #count = 0;
  /** Bytes of waiting and held items. */
  #bytes = 0;
  /** Batches in flight. */
  #inFlight = 0;
  /** Whether a flush is scheduled for the end of this turn of the event loop. */
  #scheduled = false;
  #startedAtMs = Number.NEGATIVE_INFINITY;
  /** Moving average of the durations of batches, each counted as at most the linger time. */
  #averageMs = 0;
  #linger: Timer | undefined;
  #idle: (() => void)[] = [];

  constructor(options: BatchesOptions<T>) {
    this.#options = options;
  }

  /** Queues an item; returns false when the queue is full. */
  push(item: T): boolean {
    const { key: keyOf, bytes: bytesOf, queueCount, queueBytes } = this.#options;
    const bytes = bytesOf(item);
    if (this.#count >= queueCount || this.#bytes + bytes > queueBytes) return false;
    const key = keyOf(item);
    const waiting = this.#keys.get(key);
    if (waiting === undefined) {
      const fresh = { key, items: [item], locks: 0 };
      this.#keys.set(key, fresh);
      this.#ready.push(fresh);
      this.#readyItems++;
    } else {
      waiting.items.push(item);
      if (waiting.locks === 0) this.#readyItems++;
    }
    this.#count++;
    this.#bytes += bytes;
    if (!this.#scheduled && this.#mayFlush()) this.#schedule();
    return true;
  }

  /** Number of waiting and held items, without those in flight. */
  get waiting(): number {
    return this.#count;
  }

  /** Resolves when no item waits or is in flight. */
  async idle(): Promise<void> {
    while (this.#count > 0 || this.#inFlight > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  /** Removes and returns the waiting items that match. */
  remove(match: (item: T) => boolean): T[] {
    const removed: T[] = [];
    for (const waiting of this.#keys.values()) {
      const left: T[] = [];
      for (const item of waiting.items) (match(item) ? removed : left).push(item);
      if (waiting.locks === 0) this.#readyItems -= waiting.items.length - left.length;
      waiting.items = left;
    }
    this.#count -= removed.length;
    for (const item of removed) this.#bytes -= this.#options.bytes(item);
    this.#resolveIdle();
    return removed;
  }

  /**
   * Holds items of a batch in flight back until `until` resolves; then they are the first waiting
   * items of their keys. Until then no later item of these keys is flushed, and the rest of the batch
   * does not wait for them. Held items count as waiting. Only `flush` may call it, at most once for an
   * item, before it resolves. `until` must not reject.
   */
  hold(items: readonly T[], until: Promise<void>): void {
    const { key: keyOf, bytes: bytesOf } = this.#options;
    const held = new Map<Waiting<T>, T[]>();
    for (const item of items) {
      const waiting = this.#keys.get(keyOf(item))!;
      const theirs = held.get(waiting);
      if (theirs === undefined) {
        waiting.locks++;
        held.set(waiting, [item]);
      } else theirs.push(item);
      this.#count++;
      this.#bytes += bytesOf(item);
    }
    until.then(() => {
      for (const [waiting, theirs] of held) {
        waiting.items = theirs.concat(waiting.items);
        this.#unlock(waiting);
      }
      if (!this.#scheduled && this.#mayFlush()) this.#schedule();
    });
  }

  #mayFlush(): boolean {
    if (this.#readyItems === 0 || this.#inFlight >= this.#options.inFlight) return false;
    return this.#inFlight === 0 || this.#readyItems >= CONCURRENT_BATCH_COUNT;
  }

  #schedule(): void {
    const { clock, lingerMs } = this.#options;
    const spacingMs = Math.min(lingerMs, spacingFor(this.#averageMs));
    const waitMs = spacingMs === 0 ? 0 : this.#startedAtMs + spacingMs - clock.elapsed();
    if (waitMs > MIN_WAIT_MS && this.#readyItems < CONCURRENT_BATCH_COUNT) {
      this.#linger ??= clock.after(waitMs, () => {
        this.#linger = undefined;
        this.#flushReady();
      });
      return;
    }
    this.#scheduled = true;
    // The batch starts after this turn of the event loop, so all items of the turn join it.
    setImmediate(() => {
      this.#scheduled = false;
      this.#flushReady();
    });
  }

  #flushReady(): void {
    const { clock, lingerMs, flush } = this.#options;
    while (this.#mayFlush()) {
      const keys: Waiting<T>[] = [];
      const batch = this.#take(keys);
      if (batch.length === 0) return;
      this.#inFlight++;
      const startedAtMs = clock.elapsed();
      this.#startedAtMs = startedAtMs;
      flush(batch).then(() => {
        const durationMs = Math.min(lingerMs, clock.elapsed() - startedAtMs);
        this.#averageMs += (durationMs - this.#averageMs) * AVERAGE_WEIGHT;
        this.#flushed(keys);
      });
    }
  }

  /** Takes the next batch, and adds its keys to `keys`. */
  #take(keys: Waiting<T>[]): T[] {
    const { batchCount, batchBytes, bytes: bytesOf } = this.#options;
    const batch: T[] = [];
    let bytes = 0;
    while (this.#head < this.#ready.length && batch.length < batchCount) {
      const waiting = this.#ready[this.#head]!;
      const { items } = waiting;
      let taken = 0;
      while (taken < items.length && batch.length < batchCount) {
        const item = items[taken]!;
        const size = bytesOf(item);
        if (batch.length > 0 && bytes + size > batchBytes) break;
        bytes += size;
        batch.push(item);
        taken++;
      }
      if (taken === 0 && items.length > 0) break;
      this.#head++;
      waiting.locks = 1;
      // The key's remaining items wait until the batch has ended: they must not overtake its items.
      this.#readyItems -= items.length;
      waiting.items = taken === items.length ? [] : items.slice(taken);
      keys.push(waiting);
    }
    if (this.#head === this.#ready.length || this.#head > 1_024) {
      this.#ready = this.#ready.slice(this.#head);
      this.#head = 0;
    }
    this.#count -= batch.length;
    this.#bytes -= bytes;
    return batch;
  }

  #flushed(keys: readonly Waiting<T>[]): void {
    this.#inFlight--;
    for (const waiting of keys) this.#unlock(waiting);
    if (!this.#scheduled && this.#mayFlush()) this.#schedule();
    this.#resolveIdle();
  }

  #resolveIdle(): void {
    if (this.#count > 0 || this.#inFlight > 0) return;
    const resolvers = this.#idle;
    this.#idle = [];
    for (const resolve of resolvers) resolve();
  }

  #unlock(waiting: Waiting<T>): void {
    waiting.locks--;
    if (waiting.locks > 0) return;
    if (waiting.items.length === 0) {
      this.#keys.delete(waiting.key);
    } else {
      this.#readyItems += waiting.items.length;
      this.#ready.push(waiting);
    }
  }
}
