/** Counts of messages that devices should receive. */
export interface DeliveryCounts {
  /** Delivered messages; duplicates and redeliveries do not count. */
  delivered: number;
  /** Deliveries of a message at a second sequence: the log has a duplicate. */
  duplicated: number;
  /**
   * Repeated deliveries at the same sequence. They are not a fault: delivery is at least once on the wire.
   * Connect redelivers entries that were not acknowledged in time (`ackTimeoutMs`; all entries in a run
   * without acknowledgements). It reads them from the log, so that entries in transit on the bus arrive twice
   * too, and the bus may repeat unconfirmed envelopes. The generator cannot tell these cases apart.
   */
  redelivered: number;
  /** Deliveries that arrived after an entry with a higher sequence. */
  late: number;
}

export const noDeliveryCounts = (): DeliveryCounts => ({
  delivered: 0,
  duplicated: 0,
  redelivered: 0,
  late: 0,
});

/** Numbered messages that one device received from one sender, or from one group. */
export class ReceivedMessages {
  /** By number of the message: its sequence; 0 while the message has not arrived. */
  readonly #sequences: number[] = [];
  readonly #counts: DeliveryCounts;
  #highestSequence = 0;

  /** Several devices may share `counts`. */
  constructor(counts: DeliveryCounts) {
    this.#counts = counts;
  }

  /** Records a delivery; true when it is the first delivery of its message. */
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
