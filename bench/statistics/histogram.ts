/** Steps within each power of two: values are exact to 1/128, better than 1 %. */
const STEPS = 128;
const STEP_BITS = 7;
/** Slots for values of 32 bits: more than an hour in microseconds. */
const SLOTS = (32 - STEP_BITS + 1) * STEPS;
const LARGEST = 2 ** 32 - 1;

/**
 * Counts of values in slots whose width grows with the value (log-linear, as in HdrHistogram). Adding a
 * value costs a few instructions, memory is fixed, and the largest values are kept.
 */
export class Histogram {
  readonly counts: Float64Array;

  constructor(counts = new Float64Array(SLOTS)) {
    this.counts = counts;
  }

  /** Adds a value from 0 to 2^32 - 1. A value out of range counts as the bound. */
  add(value: number): void {
    this.counts[slotOf(value)]! += 1;
  }

  /** Adds the counts of another histogram. */
  merge(other: Histogram): void {
    for (let slot = 0; slot < SLOTS; slot++) this.counts[slot]! += other.counts[slot]!;
  }

  clear(): void {
    this.counts.fill(0);
  }

  get count(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** The value that a share (0 to 1) of all values does not exceed; NaN for an empty histogram. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(this.count * share));
    let seen = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      seen += this.counts[slot]!;
      if (seen >= wanted) return middleOf(slot);
    }
    return Number.NaN;
  }
}

function slotOf(value: number): number {
  const whole = value < 0 ? 0 : value > LARGEST ? LARGEST : Math.floor(value);
  if (whole < STEPS) return whole;
  const shift = 31 - Math.clz32(whole) - STEP_BITS;
  return (shift + 1) * STEPS + (whole >>> shift) - STEPS;
}

/** Middle of the values in a slot. */
function middleOf(slot: number): number {
  if (slot < STEPS) return slot;
  const shift = Math.floor(slot / STEPS) - 1;
  const lowest = ((slot % STEPS) + STEPS) * 2 ** shift;
  return lowest + (2 ** shift - 1) / 2;
}
