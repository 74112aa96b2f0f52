/** Actions of an attack, and the answers to them. */
export interface TallyFigures {
  /** Sums by name, such as connections or bytes_sent. */
  readonly counts: Readonly<Record<string, number>>;
  /** Answers by status and reason, such as "401 TOKEN_INVALID". */
  readonly answers: Readonly<Record<string, number>>;
  /** Failed connections and steps, by error. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Counts the actions of an attack, and their answers. */
export class Tally {
  #counts: Record<string, number> = {};
  #answers: Record<string, number> = {};
  #failures: Record<string, number> = {};

  get figures(): TallyFigures {
    return { counts: this.#counts, answers: this.#answers, failures: this.#failures };
  }

  add(name: string, count = 1): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + count;
  }

  /** Keeps the largest value. */
  most(name: string, value: number): void {
    this.#counts[name] = Math.max(this.#counts[name] ?? 0, value);
  }

  answered(label: string): void {
    this.#answers[label] = (this.#answers[label] ?? 0) + 1;
  }

  failed(error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException;
    const label = typeof code === "string" ? code : message.split("\n", 1)[0]!;
    this.#failures[label] = (this.#failures[label] ?? 0) + 1;
  }

  clear(): void {
    this.#counts = {};
    this.#answers = {};
    this.#failures = {};
  }
}
