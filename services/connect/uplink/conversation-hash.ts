import type { SendTarget } from "../socket/frames.ts";

/**
 * Hash of a send's conversation; both users of a pair get the same. A non-negative small integer.
 */
export function hashOf(senderId: string, { kind, id }: SendTarget): number {
  const target = hash(id.toString());
  // Both ids are mixed before they are added: otherwise neighbouring ids would have neighbouring
  // sums.
  const value = kind === "user" ? target + hash(senderId) : target;
  // The result is a small integer, which V8 does not allocate on the heap.
  return (value >>> 1) & 0x3fffffff;
}

/** FNV-1a with a final mix, so that all bits are distributed evenly. A 32-bit integer. */
export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  value = Math.imul(value ^ (value >>> 12), 0x297a2d39);
  return value ^ (value >>> 15);
}
