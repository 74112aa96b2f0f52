/** What became of the messages of a run. */
export interface Tally {
  readonly sent: number;
  readonly accepted: number;
  /** Repeated under their key and accepted later, most likely. */
  readonly refused: number;
  readonly delivered: number;
  /** Accepted, and not delivered. */
  readonly lost: number;
  /** Delivered as two messages: two places in the log. */
  readonly duplicated: number;
  /** Delivered after one that was sent later. */
  readonly outOfOrder: number;
  /** Delivered again at the same place, which the protocol allows. */
  readonly redelivered: number;
}

/** Follows the messages of one sender to one receiver: the n-th send is n. */
export class Follow {
  /** When each was sent first, by `performance.now()`. */
  readonly sentAtMs: number[] = [];
  readonly #sequences: number[] = [];
  #accepted = 0;
  #refused = 0;
  #delivered = 0;
  #duplicated = 0;
  #outOfOrder = 0;
  #redelivered = 0;
  #highest = -1;

  /** Makes the next send; returns its number. */
  send(nowMs: number): number {
    return this.sentAtMs.push(nowMs) - 1;
  }

  accept(): void {
    this.#accepted++;
  }

  refuse(): void {
    this.#refused++;
  }

  /** Takes a delivery; true when it is the first of its message. */
  deliver(n: number, sequence: number): boolean {
    const before = this.#sequences[n];
    if (before !== undefined) {
      if (before === sequence) this.#redelivered++;
      else this.#duplicated++;
      return false;
    }
    this.#sequences[n] = sequence;
    this.#delivered++;
    if (n < this.#highest) this.#outOfOrder++;
    this.#highest = Math.max(this.#highest, n);
    return true;
  }

  get tally(): Tally {
    return {
      sent: this.sentAtMs.length,
      accepted: this.#accepted,
      refused: this.#refused,
      delivered: this.#delivered,
      lost: Math.max(0, this.#accepted - this.#delivered),
      duplicated: this.#duplicated,
      outOfOrder: this.#outOfOrder,
      redelivered: this.#redelivered,
    };
  }
}

/** The tallies of all senders together. */
export function sum(follows: readonly Follow[]): Tally {
  const total = { ...new Follow().tally };
  const names = Object.keys(total) as (keyof Tally)[];
  for (const { tally } of follows) for (const name of names) total[name] += tally[name];
  return total;
}

/** The value below which a share of the values lies; NaN for none. Sorts the values. */
export function percentile(values: Float64Array, share: number): number {
  values.sort();
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
}
