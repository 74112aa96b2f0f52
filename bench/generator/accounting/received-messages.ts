/** What became of the messages that devices should get. */
export interface Follows {
  /** Each once, however often it came. */
  delivered: number;
  /** Messages that stand at two places in the log. */
  duplicated: number;
  /**
   * Came again at the same place. No fault, whatever else happened: the contract is at least once on
   * the wire. Connect delivers again what it was not told in time that it arrived (`ackTimeoutMs`; in a
   * run without acknowledgements that is everything), reads from the log for it, so that what is on its
   * way from the bus comes twice too, and the bus may repeat what it did not confirm. None of that can
   * be seen from here.
   */
  redelivered: number;
  /** Came after one that stands later in the log. */
  late: number;
}

export const noFollows = (): Follows => ({
  delivered: 0,
  duplicated: 0,
  redelivered: 0,
  late: 0,
});

/** Follows what one device gets of one run of numbered messages. */
export class Follow {
  /** Sequence by number of the message; 0 for not here yet. */
  readonly #sequences: number[] = [];
  readonly #counts: Follows;
  #highestSequence = 0;

  /** Several may count into the same numbers. */
  constructor(counts: Follows) {
    this.#counts = counts;
  }

  /** Takes a delivery; true when it is the first of its message. */
  deliver(number: number, sequence: number): boolean {
    const sequences = this.#sequences;
    const counts = this.#counts;
    if (number < sequences.length && sequences[number] !== 0) {
      if (sequences[number] === sequence) counts.redelivered++;
      else counts.duplicated++;
      return false;
    }
    while (sequences.length < number) sequences.push(0);
    sequences[number] = sequence;
    counts.delivered++;
    if (sequence < this.#highestSequence) counts.late++;
    else this.#highestSequence = sequence;
    return true;
  }
}
