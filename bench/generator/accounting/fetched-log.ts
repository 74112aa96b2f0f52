/** What came of one conversation's log, read from its beginning: what is missing, doubled, misplaced. */
export class ReadLog {
  readonly #seen = new Set<bigint>();
  #highest = 0n;
  /** Entries at places that were there already. */
  duplicated = 0;
  /** Entries that came after one that stands later in the log. */
  outOfOrder = 0;

  /** Takes the next entry, by its place. */
  take(sequence: bigint): void {
    if (this.#seen.has(sequence)) {
      this.duplicated++;
      return;
    }
    this.#seen.add(sequence);
    if (sequence < this.#highest) this.outOfOrder++;
    else this.#highest = sequence;
  }

  /** The farthest place that is there; 0 for none. */
  get highest(): bigint {
    return this.#highest;
  }

  /** How many places are there. */
  get entries(): number {
    return this.#seen.size;
  }

  /** How many places from 1 to the last one are not there. */
  missing(last: bigint): number {
    let missing = 0;
    for (let sequence = 1n; sequence <= last; sequence++) {
      if (!this.#seen.has(sequence)) missing++;
    }
    return missing;
  }
}
