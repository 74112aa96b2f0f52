import type { Clock, Timer } from "../../platform/clock.ts";

export interface CoalesceOptions<T> {
  clock: Clock;
  /** Items in one call. */
  limit: number;
  /** How long the first item waits for company, unless it says so itself; 0: for this turn. */
  lingerMs: number;
  /** Items waiting at once; more are dropped. */
  queue: number;
  /** How often a call is made before its items are dropped. */
  attempts: number;
  call: (items: readonly T[]) => Promise<unknown>;
  /** So many items are given up. */
  dropped: (items: number, error: unknown) => void;
}

const pauseMs = 200;

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
    if (known === undefined && (this.#closed || this.#waiting.size >= this.#options.queue)) {
      this.#options.dropped(1, new Error("the queue is full"));
      return;
    }
    this.#waiting.set(key, join(known));
    this.#schedule(this.#options.clock.now() + lingerMs);
  }

  /** Sends what waits right away, once, and takes nothing more. Resolves when that is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    this.#start();
    await this.#working;
  }

  #schedule(dueMs: number): void {
    if (this.#working) {
      this.#dueMs = Math.min(this.#dueMs, dueMs);
      return;
    }
    if (this.#linger && this.#linger.dueMs <= dueMs) return;
    this.#linger?.timer.stop();
    this.#linger = { timer: this.#soon(dueMs - this.#options.clock.now()), dueMs };
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

  async #work(): Promise<void> {
    do {
      const items = [...this.#waiting.values()];
      this.#waiting.clear();
      this.#dueMs = Number.POSITIVE_INFINITY;
      for (let from = 0; from < items.length; from += this.#options.limit) {
        await this.#call(items.slice(from, from + this.#options.limit));
      }
    } while (this.#closed && this.#waiting.size > 0);
    this.#working = undefined;
    if (this.#waiting.size > 0) this.#schedule(this.#dueMs);
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
      await this.#pause(pauseMs * attempt);
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
