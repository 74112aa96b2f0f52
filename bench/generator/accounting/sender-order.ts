/** Checks that the messages of one device are stored in the order in which they were sent. */
export class SenderOrder {
  #retried: Set<number> | undefined;
  #highestNumber = -1;
  #highestSequence = 0;

  /** A refused message will be retried: later messages may overtake it. */
  retried(number: number): void {
    this.#retried ??= new Set();
    this.#retried.add(number);
  }

  /**
   * Records a delivered message; true when the log stores it after a message that was sent later. A delivery
   * with a lower sequence than an earlier delivery is not checked.
   */
  isOutOfOrder(number: number, sequence: number): boolean {
    const retried = this.#retried?.delete(number) ?? false;
    if (sequence <= this.#highestSequence) return false;
    this.#highestSequence = sequence;
    if (number < this.#highestNumber) return !retried;
    this.#highestNumber = number;
    return false;
  }
}
