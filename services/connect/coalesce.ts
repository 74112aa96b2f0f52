import type { Clock, Timer } from "../../platform/clock.ts";

export interface CoalesceOptions<T> {
  clock: Clock;
  /** Items in one call. */
  limit: number;
  /** How long the first item waits for company; 0: for this turn of the event loop. */
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

/** Joins news about the same thing while it waits, and sends what is left in batches. Lossy. */
export class Coalescer<T> {
  readonly #options: CoalesceOptions<T>;
  #waiting = new Map<string, T>();
  #working: Promise<void> | undefined;
  /** Ends the pause before a repetition. */
  #wake: (() => void) | undefined;
  #linger: Timer | undefined;
  #closed = false;

  constructor(options: CoalesceOptions<T>) {
    this.#options = options;
  }

  /** Whether nothing is waiting or on its way. */
  get idle(): boolean {
    return this.#working === undefined && this.#waiting.size === 0;
  }

  /** Adds news under a key; `join` makes one item out of what waits under it and the news. */
  put(key: string, join: (known: T | undefined) => T): void {
    const known = this.#waiting.get(key);
    if (known === undefined && (this.#closed || this.#waiting.size >= this.#options.queue)) {
      this.#options.dropped(1, new Error("the queue is full"));
      return;
    }
    this.#waiting.set(key, join(known));
    if (this.#working) return;
    if (this.#waiting.size >= this.#options.limit) this.#start();
    else this.#linger ??= this.#soon();
  }

  /** Sends what waits right away, once, and takes nothing more. Resolves when that is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    this.#start();
    await this.#working;
  }

  #soon(): Timer {
    const { clock, lingerMs } = this.#options;
    if (lingerMs > 0) return clock.after(lingerMs, () => this.#start());
    const immediate = setImmediate(() => this.#start());
    return { stop: () => clearImmediate(immediate) };
  }

  #start(): void {
    this.#linger?.stop();
    this.#linger = undefined;
    if (this.#working || this.#waiting.size === 0) return;
    this.#working = this.#work();
  }

  async #work(): Promise<void> {
    while (this.#waiting.size > 0) {
      const items: T[] = [];
      for (const [key, item] of this.#waiting) {
        items.push(item);
        this.#waiting.delete(key);
        if (items.length === this.#options.limit) break;
      }
      await this.#call(items);
    }
    this.#working = undefined;
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
