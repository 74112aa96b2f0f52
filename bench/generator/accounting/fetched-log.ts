/** Entries that a device fetched from the log of one conversation, starting at the first. */
export class FetchedLog {
  readonly #seen = new Set<bigint>();
  #highest = 0n;
  /** Entries with an already fetched sequence. */
  duplicated = 0;
  /** Entries that arrived after an entry with a higher sequence. */
  outOfOrder = 0;

  /** Takes the sequence of the next entry. */
  take(sequence: bigint): void {
    if (this.#seen.has(sequence)) {
      this.duplicated++;
      return;
    }
    this.#seen.add(sequence);
    if (sequence < this.#highest) this.outOfOrder++;
    else this.#highest = sequence;
  }

  /** Highest sequence; 0 for none. */
  get highest(): bigint {
    return this.#highest;
  }

  /** Number of different sequences. */
  get entries(): number {
    return this.#seen.size;
  }

  /** Number of sequences from 1 to `last` that were not fetched. */
  missing(last: bigint): number {
    let missing = 0;
    for (let sequence = 1n; sequence <= last; sequence++) {
      if (!this.#seen.has(sequence)) missing++;
    }
    return missing;
  }
}
