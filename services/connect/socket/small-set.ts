/**
 * A set that nearly always holds one thing, or none: it takes a fifth of the memory of a Set then. Of
 * anything but Sets. What is added while it is gone through need not be met.
 */
export class SmallSet<T extends object> implements Iterable<T> {
  #held: T | Set<T> | undefined;

  get size(): number {
    const held = this.#held;
    return held instanceof Set ? held.size : Number(held !== undefined);
  }

  add(one: T): void {
    const held = this.#held;
    if (held instanceof Set) held.add(one);
    else if (held === undefined) this.#held = one;
    else if (held !== one) this.#held = new Set([held, one]);
  }

  /** Whether it was there. */
  delete(one: T): boolean {
    const held = this.#held;
    if (held instanceof Set) return held.delete(one);
    if (held !== one) return false;
    this.#held = undefined;
    return true;
  }

  [Symbol.iterator](): IterableIterator<T> {
    const held = this.#held;
    if (held instanceof Set) return held.values();
    return (held === undefined ? [] : [held]).values();
  }
}
