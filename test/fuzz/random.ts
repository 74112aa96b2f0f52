/** A seeded generator of random numbers (Mulberry32): the same numbers on every machine. */
export class Random {
  #state: number;

  /** Each `stream` of a seed has its own numbers. */
  constructor(seed: number, stream: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35);
  }

  /** An integer from 0 to n - 1. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * n);
  }

  /** True once in `n` times. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at++) bytes[at] = this.below(256);
    return bytes;
  }
}

/** Valid bytes with a fault: truncated, changed, repeated, with noise in them; sometimes unchanged. */
export function mutate(random: Random, valid: Uint8Array): Buffer {
  const bytes = Buffer.from(valid);
  const at = random.below(bytes.length + 1);
  switch (random.below(10)) {
    case 0:
      return bytes;
    case 1:
    case 2:
      return bytes.subarray(0, at);
    case 3:
    case 4: {
      for (let i = random.below(4); i >= 0 && bytes.length > 0; i--) {
        bytes[random.below(bytes.length)] = random.below(256);
      }
      return bytes;
    }
    case 5:
      return Buffer.concat([
        bytes.subarray(0, at),
        random.bytes(random.below(20)),
        bytes.subarray(at),
      ]);
    case 6:
      return Buffer.concat([bytes, bytes.subarray(at), bytes.subarray(0, at)]);
    case 7:
      // A number that does not end, or is far too large.
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(9, 0xff), bytes.subarray(at)]);
    case 8:
      return Buffer.concat(Array.from({ length: 1 + random.below(200) }, () => bytes));
    default:
      return random.bytes(random.below(64));
  }
}
