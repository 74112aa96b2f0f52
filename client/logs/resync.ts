import { Backoff } from "../backoff.ts";
import type { Clock, Timer } from "../clock.ts";

/** Largest random part of the delay before an incomplete sync is repeated, ms. */
const LONGEST_RESYNC_MS = 60_000;

/**
 * The repetition of a sync when the server could not read some conversations. A random, growing delay is
 * added to the server's: all devices of a database that is away repeat their syncs.
 */
export class Resync {
  readonly #options: { readonly clock: Clock; readonly random?: (() => number) | undefined };
  readonly #sync: () => void;
  #timer: Timer | undefined;
  /** Absent after a complete sync. */
  #backoff: Backoff | undefined;

  /** `random` returns numbers from 0 to below 1. */
  constructor(
    options: { readonly clock: Clock; readonly random?: (() => number) | undefined },
    sync: () => void,
  ) {
    this.#options = options;
    this.#sync = sync;
  }

  /** Schedules the next sync after one that returned this delay, ms; 0: it was complete. */
  schedule(retryAfterMs: number): void {
    this.stop();
    if (retryAfterMs === 0) {
      this.#backoff = undefined;
      return;
    }
    const { clock, random } = this.#options;
    const longestMs = LONGEST_RESYNC_MS;
    this.#backoff ??= new Backoff({ firstMs: retryAfterMs, longestMs, ...(random && { random }) });
    this.#timer = clock.after(retryAfterMs + this.#backoff.next(), this.#sync);
  }

  stop(): void {
    this.#timer?.stop();
  }
}
