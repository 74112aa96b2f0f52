import type { Clock, Timer } from "#platform/clock.ts";

/** What identifies items whose order is kept, such as a conversation. */
type Key = string | number;

export interface BatchesOptions<T> {
  /** Items of one key stay in their order, and are never in two batches on their way. */
  readonly key: (item: T) => Key;
  readonly bytes: (item: T) => number;
  /** Items in one batch at most. */
  readonly batchCount: number;
  /** Bytes of one batch at most; a single item may be larger. */
  readonly batchBytes: number;
  /** Items that may wait; more are not taken. */
  readonly queueCount: number;
  /** Bytes of items that may wait; more are not taken. */
  readonly queueBytes: number;
  /** Batches on their way at once. */
  readonly inFlight: number;
  /**
   * The most time between the starts of two small batches, milliseconds; 0 for none. An item that
   * comes alone leaves at once; only what follows closely waits to be joined.
   */
  readonly lingerMs: number;
  readonly clock: Clock;
  /** Carries a batch to its end. Must not reject. */
  readonly flush: (batch: readonly T[]) => Promise<void>;
}

interface Waiting<T> {
  readonly key: Key;
  items: T[];
  /** Some of the key are on their way. */
  busy: boolean;
}

/**
 * So many items are worth a batch of their own beside those on their way. Below, what waits is better
 * joined: a batch costs more than what it carries.
 */
const WORTHWHILE = 128;

/**
 * How far apart small batches start, by how long one is on its way, milliseconds. What takes 0.8 ms is
 * a database beside us. What takes 2 ms crosses processes that all wake for it, and costs three times
 * the processor time: there it pays to join more. Measured at 1,000 sends a second (bench `messages`),
 * CPU of all servers for 1,000 messages, instead of 1 ms always: 0.58 s instead of 0.70 in one process,
 * 0.88 instead of 1.10 in a mesh. With the square of the time instead one process went to and fro between
 * 0.8 and 2.7 ms. A timer rounds up to whole milliseconds; what comes when the time is over leaves at once.
 */
const spacingFor = (flightMs: number): number => flightMs + 0.8 * flightMs ** 4;
/** Weight of one more batch in what is known of their durations. */
const NEWS = 1 / 16;
/** A timer is not worth less, milliseconds. */
const LEAST_WAIT_MS = 0.3;

/**
 * Joins items to batches: what arrives while a batch is on its way goes with the next. Under little
 * load one batch is on its way at a time and the next one leaves with whatever came meanwhile; under
 * much load several are. Bounded: `push` says no when too much waits.
 */
export class Batches<T> {
  readonly #options: BatchesOptions<T>;
  /** Keys of which something waits or is on its way. */
  readonly #keys = new Map<Key, Waiting<T>>();
  /** Those that may go, in the order in which they came. */
  #ready: Waiting<T>[] = [];
  #head = 0;
  #readyItems = 0;
  #count = 0;
  #bytes = 0;
  #flights = 0;
  #scheduled = false;
  #leftAtMs = Number.NEGATIVE_INFINITY;
  /** How long a batch is on its way, of late; none counts for more than the linger time. */
  #flightMs = 0;
  #linger: Timer | undefined;
  #idle: (() => void)[] = [];

  constructor(options: BatchesOptions<T>) {
    this.#options = options;
  }

  /** Takes an item; false when too much waits. */
  push(item: T): boolean {
    const { key: keyOf, bytes: bytesOf, queueCount, queueBytes } = this.#options;
    const bytes = bytesOf(item);
    if (this.#count >= queueCount || this.#bytes + bytes > queueBytes) return false;
    const key = keyOf(item);
    const waiting = this.#keys.get(key);
    if (waiting === undefined) {
      const fresh = { key, items: [item], busy: false };
      this.#keys.set(key, fresh);
      this.#ready.push(fresh);
      this.#readyItems++;
    } else {
      waiting.items.push(item);
      if (!waiting.busy) this.#readyItems++;
    }
    this.#count++;
    this.#bytes += bytes;
    if (!this.#scheduled && this.#mayLeave()) this.#schedule();
    return true;
  }

  /** Items that wait, those on their way not counted. */
  get waiting(): number {
    return this.#count;
  }

  /** Resolves when nothing waits and nothing is on its way. */
  async idle(): Promise<void> {
    while (this.#count > 0 || this.#flights > 0) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  /** Takes the waiting items back that match: they will not be carried. */
  remove(match: (item: T) => boolean): T[] {
    const withdrawn: T[] = [];
    for (const waiting of this.#keys.values()) {
      const left: T[] = [];
      for (const item of waiting.items) (match(item) ? withdrawn : left).push(item);
      if (!waiting.busy) this.#readyItems -= waiting.items.length - left.length;
      waiting.items = left;
    }
    this.#count -= withdrawn.length;
    for (const item of withdrawn) this.#bytes -= this.#options.bytes(item);
    this.#tellIdle();
    return withdrawn;
  }

  #mayLeave(): boolean {
    if (this.#readyItems === 0 || this.#flights >= this.#options.inFlight) return false;
    return this.#flights === 0 || this.#readyItems >= WORTHWHILE;
  }

  #schedule(): void {
    const { clock, lingerMs } = this.#options;
    const spacingMs = Math.min(lingerMs, spacingFor(this.#flightMs));
    const waitMs = spacingMs === 0 ? 0 : this.#leftAtMs + spacingMs - clock.elapsed();
    if (waitMs > LEAST_WAIT_MS && this.#readyItems < WORTHWHILE) {
      this.#linger ??= clock.after(waitMs, () => {
        this.#linger = undefined;
        this.#leave();
      });
      return;
    }
    this.#scheduled = true;
    // Whatever else this turn of the event loop brings goes along.
    setImmediate(() => {
      this.#scheduled = false;
      this.#leave();
    });
  }

  #leave(): void {
    const { clock, lingerMs, flush } = this.#options;
    while (this.#mayLeave()) {
      const keys: Waiting<T>[] = [];
      const batch = this.#take(keys);
      if (batch.length === 0) return;
      this.#flights++;
      const leftAtMs = clock.elapsed();
      this.#leftAtMs = leftAtMs;
      flush(batch).then(() => {
        const flightMs = Math.min(lingerMs, clock.elapsed() - leftAtMs);
        this.#flightMs += (flightMs - this.#flightMs) * NEWS;
        this.#landed(keys);
      });
    }
  }

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
      waiting.busy = true;
      // What is left of a key waits with it, so that it does not overtake.
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

  #landed(keys: readonly Waiting<T>[]): void {
    this.#flights--;
    for (const waiting of keys) this.#free(waiting);
    if (!this.#scheduled && this.#mayLeave()) this.#schedule();
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#count > 0 || this.#flights > 0) return;
    const resolvers = this.#idle;
    this.#idle = [];
    for (const resolve of resolvers) resolve();
  }

  #free(waiting: Waiting<T>): void {
    waiting.busy = false;
    if (waiting.items.length === 0) {
      this.#keys.delete(waiting.key);
    } else {
      this.#readyItems += waiting.items.length;
      this.#ready.push(waiting);
    }
  }
}
