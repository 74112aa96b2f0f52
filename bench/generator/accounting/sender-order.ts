/** Follows whether what one device sends, one after the other, stands in the log in that order. */
export class Order {
  #repeated: Set<number> | undefined;
  #highestNumber = -1;
  #highestSequence = 0;

  /** A message was refused and will be sent again: those behind it may overtake it. */
  repeated(number: number): void {
    this.#repeated ??= new Set();
    this.#repeated.add(number);
  }

  /**
   * Takes a message that arrived somewhere; true when the log has it behind one that was sent later. Of
   * one that arrives behind later ones of the log, nothing is said.
   */
  isOvertaken(number: number, sequence: number): boolean {
    const repeated = this.#repeated?.delete(number) ?? false;
    if (sequence <= this.#highestSequence) return false;
    this.#highestSequence = sequence;
    if (number < this.#highestNumber) return !repeated;
    this.#highestNumber = number;
    return false;
  }
}
