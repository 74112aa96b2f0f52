/** Checks that messages which one device sends one after the other are stored in that order. */
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
   * Takes a delivered message; true when the log has it behind a message that was sent later. Deliveries
   * that arrive behind a later entry of the log are not judged.
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
