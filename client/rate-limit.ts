import type { Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "./clock.ts";

/** Each of these amounts adds 1 to the weight of a frame. */
const BYTES_PER_WEIGHT = 16_384;
const FIELDS_PER_WEIGHT = 40;

/** Most fields of a cursor, of a part of composite content, and of a send around its parts and details. */
const FIELDS_PER_CURSOR = 5;
const FIELDS_PER_PART = 15;
const FIELDS_AROUND_PARTS = 15;

/** Weight of a frame: the number of frames that it counts as in the server's rate limit, at most. */
export function frameWeight(frame: {
  readonly bytes?: number;
  readonly cursors?: number;
  readonly parts?: number;
  /** Fields of the mentions and the extra of a send. */
  readonly details?: number;
}): number {
  const { bytes = 0, cursors = 0, parts = 0, details = 0 } = frame;
  const ofSend = parts * FIELDS_PER_PART + details;
  const fields = cursors * FIELDS_PER_CURSOR + (ofSend === 0 ? 0 : ofSend + FIELDS_AROUND_PARTS);
  return 1 + Math.floor(bytes / BYTES_PER_WEIGHT) + Math.floor(fields / FIELDS_PER_WEIGHT);
}

/** A token bucket for frames: holds `burst` tokens and refills at `perSecond`. */
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
    this.#refilledAtMs = clock.elapsed();
  }

  /**
   * Takes tokens for a frame of the weight. Returns 0 when it may be sent now, else the delay until
   * a retry, ms.
   */
  take(weight: number): number {
    const now = this.#clock.elapsed();
    const refill = Math.max(0, now - this.#refilledAtMs) * this.#perMs;
    this.#available = Math.min(this.#burst, this.#available + refill);
    this.#refilledAtMs = now;
    const needed = Math.min(weight, this.#burst);
    if (this.#available < needed) return Math.ceil((needed - this.#available) / this.#perMs);
    this.#available -= needed;
    return 0;
  }
}

/**
 * A rate limit below the server's limit: it leaves room for signals, calls and heartbeats.
 * Undefined when the server sets none.
 */
export function rateLimitOf({ limits }: Welcome, clock: Clock): RateLimit | undefined {
  const { framesPerSecond = 0, framesBurst = 0 } = limits ?? {};
  if (framesPerSecond === 0 || framesBurst === 0) return undefined;
  return new RateLimit(clock, { perSecond: framesPerSecond * 0.8, burst: framesBurst * 0.75 });
}
