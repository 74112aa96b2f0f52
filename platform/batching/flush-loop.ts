import type { Clock, Timer } from "#platform/clock.ts";

export interface FlushLoopOptions {
  readonly clock: Clock;
  /** Maximum flushes in flight; default 1. */
  readonly inFlight?: number;
  /**
   * Flushes the collected items. A flush that leaves items in the collector requests the next flush
   * itself. An error does not stop the loop; it rejects `flushNow`, or is unhandled when a timer
   * called it.
   */
  readonly flush: () => Promise<void>;
}

/**
 * Starts the flushes of a collector, which keeps the items itself: at most `inFlight` at a time.
 * Further requests share one more flush, which starts as soon as one in flight has ended.
 */
export class FlushLoop {
  readonly #options: FlushLoopOptions;
  #inFlight = 0;
  /** The flush requested while `inFlight` others were in flight. */
  #next: PromiseWithResolvers<void> | undefined;
  #timer: Timer | undefined;
  /** When the timer fires, elapsed ms. */
  #dueMs = 0;
  #closed = false;

  constructor(options: FlushLoopOptions) {
    this.#options = options;
  }

  /** Whether a flush is in flight. */
  get flushing(): boolean {
    return this.#inFlight > 0;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Requests a flush after `delayMs`, unless an earlier one is due. With 0 ms it starts after this
   * turn of the event loop, so that the items of the turn share it.
   */
  schedule(delayMs: number): void {
    const dueMs = this.#options.clock.elapsed() + delayMs;
    if (this.#closed || (this.#timer && this.#dueMs <= dueMs)) return;
    this.#timer?.stop();
    this.#dueMs = dueMs;
    this.#timer = this.#after(delayMs, () => void this.flushNow());
  }

  /** Requests a flush at once. Resolves when a flush that started after the call has ended. */
  async flushNow(): Promise<void> {
    if (!this.#closed) await this.#request();
  }

  /** Flushes a last time like `flushNow`, then ignores all requests. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#request();
  }

  #after(delayMs: number, callback: () => void): Timer {
    if (delayMs > 0) return this.#options.clock.after(delayMs, callback);
    const immediate = setImmediate(callback);
    return { stop: () => clearImmediate(immediate) };
  }

  #request(): Promise<void> {
    this.#timer?.stop();
    this.#timer = undefined;
    if (this.#inFlight < (this.#options.inFlight ?? 1)) return this.#run();
    this.#next ??= Promise.withResolvers();
    return this.#next.promise;
  }

  async #run(): Promise<void> {
    this.#inFlight++;
    try {
      await this.#options.flush();
    } finally {
      this.#inFlight--;
      const next = this.#next;
      this.#next = undefined;
      next?.resolve(this.#request());
    }
  }
}
