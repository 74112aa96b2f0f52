import type { Clock, Timer } from "#platform/clock.ts";

export interface CoalesceOptions<T> {
  clock: Clock;
  /** Items in one call. */
  batchCount: number;
  /** How long the first item waits for company, unless it says so itself; 0: for this turn. */
  lingerMs: number;
  /** Items waiting at once; more are dropped. From the half of it on nothing lingers. */
  queueCount: number;
  /** How often a call is made before its items are dropped. */
  attempts: number;
  call: (items: readonly T[]) => Promise<unknown>;
  /** So many items are given up. */
  dropped: (items: number, error: unknown) => void;
}

const PAUSE_MS = 200;

/**
 * Joins news about the same thing while it waits, and sends what is left in batches. What comes while
 * a call is on its way waits its own time after it: else much news would hardly be joined. Lossy.
 */
export class Coalescer<T> {
  readonly #options: CoalesceOptions<T>;
  #waiting = new Map<string, T>();
  #working: Promise<void> | undefined;
  /** Ends the pause before a repetition. */
  #wake: (() => void) | undefined;
  #linger: { readonly timer: Timer; readonly dueMs: number } | undefined;
  /** When the first of what came during a call has to leave. */
  #dueMs = Number.POSITIVE_INFINITY;
  /** The longest that anything was to wait, whatever the clock says. */
  #longestMs = 0;
  /** Not taken, and not told yet. */
  #overflow = 0;
  #closed = false;

  constructor(options: CoalesceOptions<T>) {
    this.#options = options;
  }

  /** Whether nothing is waiting or on its way. */
  get idle(): boolean {
    return this.#working === undefined && this.#waiting.size === 0;
  }

  /**
   * Adds news under a key; `join` makes one item out of what waits under it and the news. It leaves
   * within the linger time, with everything else that waits then.
   */
  put(key: string, join: (known: T | undefined) => T, lingerMs = this.#options.lingerMs): void {
    const known = this.#waiting.get(key);
    const { clock, queueCount } = this.#options;
    if (known === undefined && (this.#closed || this.#waiting.size >= queueCount)) {
      this.#overflow++;
      if (!this.#working) this.#tellOverflow();
      return;
    }
    this.#waiting.set(key, join(known));
    this.#longestMs = Math.max(this.#longestMs, lingerMs);
    // Half full: it leaves at once, while there is room for what comes meanwhile.
    if (this.#halfFull) this.#start();
    else this.#schedule(clock.now() + lingerMs);
  }

  /** Sends what waits right away, once, and takes nothing more. Resolves when that is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    this.#start();
    await this.#working;
  }

  get #halfFull(): boolean {
    return this.#waiting.size * 2 >= this.#options.queueCount;
  }

  #schedule(dueMs: number): void {
    if (this.#working) {
      this.#dueMs = Math.min(this.#dueMs, dueMs);
      return;
    }
    if (this.#linger && this.#linger.dueMs <= dueMs) return;
    this.#linger?.timer.stop();
    const waitMs = Math.min(dueMs - this.#options.clock.now(), this.#longestMs);
    this.#linger = { timer: this.#soon(waitMs), dueMs };
  }

  #soon(waitMs: number): Timer {
    if (waitMs > 0) return this.#options.clock.after(waitMs, () => this.#start());
    const immediate = setImmediate(() => this.#start());
    return { stop: () => clearImmediate(immediate) };
  }

  #start(): void {
    this.#linger?.timer.stop();
    this.#linger = undefined;
    if (this.#working || this.#waiting.size === 0) return;
    this.#working = this.#work();
  }

  /** Sends what waits now, and no more: what comes meanwhile has its own time, or joins what waits. */
  async #work(): Promise<void> {
    do {
      this.#dueMs = Number.POSITIVE_INFINITY;
      for (let left = this.#waiting.size; left > 0; ) {
        const items = this.#take(Math.min(left, this.#options.batchCount));
        left -= items.length;
        await this.#call(items);
        this.#tellOverflow();
      }
    } while (this.#halfFull || (this.#closed && this.#waiting.size > 0));
    this.#working = undefined;
    if (this.#waiting.size > 0) this.#schedule(this.#dueMs);
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

  /** So many at once, and not one by one: it may be tens of thousands a second. */
  #tellOverflow(): void {
    const count = this.#overflow;
    this.#overflow = 0;
    if (count > 0) this.#options.dropped(count, new Error("the queue is full"));
  }

  async #call(items: readonly T[]): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#options.call(items);
        return;
      } catch (error) {
        if (attempt >= this.#options.attempts || this.#closed) {
          this.#options.dropped(items.length, error);
          return;
        }
      }
      await this.#pause(PAUSE_MS * attempt);
    }
  }

  async #pause(ms: number): Promise<void> {
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = this.#options.clock.after(ms, resolve);
    });
    this.#wake = undefined;
    timer?.stop();
  }
}
