import type { Clock, Timer } from "#platform/clock.ts";

interface Waiting {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly ring: () => void;
  native: NodeJS.Timeout | undefined;
}

/** What setTimeout takes at most; a later timer looks again then. */
const LONGEST_MS = 2 ** 31 - 1;

/** The real time and what a test has moved it by: it runs, and it jumps. */
export class MovedClock implements Clock {
  #movedMs = 0;
  /** What `now` says while a jump rings what came due in it. */
  #heldMs: number | undefined;
  readonly #waiting = new Set<Waiting>();

  /** How far it is ahead of the real time. */
  get movedMs(): number {
    return this.#movedMs;
  }

  now(): number {
    return this.#heldMs ?? Date.now() + this.#movedMs;
  }

  /** The same: a test moves it forward only. */
  elapsed(): number {
    return this.now();
  }

  after(delayMs: number, ring: () => void): Timer {
    return this.#add({ atMs: this.now() + delayMs, everyMs: undefined, ring, native: undefined });
  }

  every(intervalMs: number, ring: () => void): Timer {
    const atMs = this.now() + intervalMs;
    return this.#add({ atMs, everyMs: intervalMs, ring, native: undefined });
  }

  /**
   * Jumps forward. What came due rings before this returns, in the order of the times and with the
   * clock at each; an interval that came due more than once rings for the last time of them only, as
   * on a machine that slept.
   */
  advance(ms: number): void {
    const untilMs = this.now() + ms;
    for (;;) {
      const [next] = [...this.#waiting]
        .map((timer) => ({ timer, dueMs: lastDue(timer, untilMs) }))
        .sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined || next.dueMs > untilMs) break;
      this.#heldMs = next.dueMs;
      this.#ring(next.timer, next.dueMs);
    }
    this.#heldMs = undefined;
    this.#movedMs += ms;
    for (const timer of this.#waiting) this.#arm(timer);
  }

  #add(timer: Waiting): Timer {
    this.#waiting.add(timer);
    this.#arm(timer);
    return { stop: () => this.#stop(timer) };
  }

  #arm(timer: Waiting): void {
    clearTimeout(timer.native);
    const leftMs = timer.atMs - this.now();
    const look = () => {
      if (this.now() < timer.atMs) this.#arm(timer);
      else this.#ring(timer, lastDue(timer, this.now()));
    };
    timer.native = setTimeout(look, Math.max(0, Math.min(leftMs, LONGEST_MS))).unref();
  }

  #ring(timer: Waiting, dueMs: number): void {
    if (timer.everyMs === undefined) this.#stop(timer);
    else {
      timer.atMs = dueMs + timer.everyMs;
      this.#arm(timer);
    }
    timer.ring();
  }

  #stop(timer: Waiting): void {
    clearTimeout(timer.native);
    this.#waiting.delete(timer);
  }
}

/** When it is due; of an interval's times up to `untilMs` the last. */
function lastDue({ atMs, everyMs }: Waiting, untilMs: number): number {
  if (everyMs === undefined || atMs > untilMs) return atMs;
  return atMs + Math.floor((untilMs - atMs) / everyMs) * everyMs;
}
