import type { Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "./clock.ts";

/** What a frame counts more for. */
const BYTES_PER_WEIGHT = 16_384;
const CURSORS_PER_WEIGHT = 10;

/** What a frame counts for, towards the rate that the server allows. */
export function frameWeight(frame: { bytes?: number; cursors?: number }): number {
  const { bytes = 0, cursors = 0 } = frame;
  return 1 + Math.floor(bytes / BYTES_PER_WEIGHT) + Math.floor(cursors / CURSORS_PER_WEIGHT);
}

/** Keeps below a number of frames a second: `burst` at once, then as many as are earned. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #perMs: number;
  readonly #burst: number;
  #available: number;
  #refilledAtMs: number;

  constructor(clock: Clock, bounds: { perSecond: number; burst: number }) {
    this.#clock = clock;
    this.#perMs = bounds.perSecond / 1_000;
    this.#burst = bounds.burst;
    this.#available = bounds.burst;
    this.#refilledAtMs = clock.now();
  }

  /** Takes a frame of the weight: 0 when it may go now, else in how many milliseconds to ask again. */
  take(weight: number): number {
    const now = this.#clock.now();
    const earned = Math.max(0, now - this.#refilledAtMs) * this.#perMs;
    this.#available = Math.min(this.#burst, this.#available + earned);
    this.#refilledAtMs = now;
    const needed = Math.min(weight, this.#burst);
    if (this.#available < needed) return Math.ceil((needed - this.#available) / this.#perMs);
    this.#available -= needed;
    return 0;
  }
}

/** A pace below what the server takes, which leaves room for signals, calls and heartbeats. */
export function rateLimitOf(
  { framesPerSecond, framesBurst }: Welcome,
  clock: Clock,
): RateLimit | undefined {
  if (framesPerSecond === 0 || framesBurst === 0) return undefined;
  return new RateLimit(clock, { perSecond: framesPerSecond * 0.8, burst: framesBurst * 0.75 });
}
