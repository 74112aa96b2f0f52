import { FF1 } from "@noble/ciphers/ff1.js";

/** A permutation of the positive 63-bit integers, 1 to 2^63 - 1. */
export interface IdPermutation {
  /** Throws a RangeError for an id outside the range. */
  apply(id: bigint): bigint;
  /** The id that `apply` maps to this one. */
  invert(id: bigint): bigint;
}

const BITS = 63;
/** Separates this use of a key from any other one. */
const TWEAK = Buffer.from("lucky user id");

/**
 * Creates the permutation of a key of 32 bytes: format-preserving encryption FF1 (NIST SP 800-38G)
 * with AES-256 over 63 binary digits. Without the key it looks random.
 */
export function createIdPermutation(key: Uint8Array): IdPermutation {
  const cipher = FF1(2, key, TWEAK);
  /** FF1 permutes 0 to 2^63 - 1. A result of 0 is permuted once more, which cannot be 0 again. */
  const walk = (id: bigint, step: (digits: number[]) => number[]): bigint => {
    if (id <= 0n || id >= 1n << BigInt(BITS)) throw new RangeError("an id must be 1 to 2^63 - 1");
    const next = numberOf(step(digitsOf(id)));
    return next === 0n ? numberOf(step(digitsOf(0n))) : next;
  };
  return {
    apply: (id) => walk(id, cipher.encrypt),
    invert: (id) => walk(id, cipher.decrypt),
  };
}

const digitsOf = (id: bigint): number[] => Array.from(id.toString(2).padStart(BITS, "0"), Number);
const numberOf = (digits: readonly number[]): bigint => BigInt(`0b${digits.join("")}`);
