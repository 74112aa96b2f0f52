/**
 * A set optimised for zero or one member: it then takes a fifth of the memory of a Set. Members
 * must not be Sets. Iteration may skip members that are added during it.
 */
export class SmallSet<T extends object> implements Iterable<T> {
  #members: T | Set<T> | undefined;

  get size(): number {
    const members = this.#members;
    return members instanceof Set ? members.size : Number(members !== undefined);
  }

  add(member: T): void {
    const members = this.#members;
    if (members instanceof Set) members.add(member);
    else if (members === undefined) this.#members = member;
    else if (members !== member) this.#members = new Set([members, member]);
  }

  /** Returns whether it was a member. */
  delete(member: T): boolean {
    const members = this.#members;
    if (members instanceof Set) return members.delete(member);
    if (members !== member) return false;
    this.#members = undefined;
    return true;
  }

  [Symbol.iterator](): IterableIterator<T> {
    const members = this.#members;
    if (members instanceof Set) return members.values();
    return (members === undefined ? [] : [members]).values();
  }
}
