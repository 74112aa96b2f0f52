/**
 * The account of a load: compares the accepted sends with the entries that the receivers showed.
 */
export class Account {
  /** By text: where the send was accepted. */
  readonly #accepted = new Map<string, { conversation: string; sequence: number; to: string }>();
  /** By receiver: the texts that it showed, in this order, with their sequences. */
  readonly #shown = new Map<string, { text: string; conversation: string; sequence: number }[]>();
  #sent = 0;

  /** Sends begun; those without a result are in flight, or were refused. */
  get sent(): number {
    return this.#sent;
  }

  get accepted(): number {
    return this.#accepted.size;
  }

  send(): void {
    this.#sent += 1;
  }

  /** A send has its result. Each text is sent once. */
  accept(text: string, at: { conversation: string; sequence: number; to: string }): void {
    this.#accepted.set(text, at);
  }

  /** A receiver shows an entry of another user. */
  show(receiver: string, entry: { text: string; conversation: string; sequence: number }): void {
    const list = this.#shown.get(receiver) ?? [];
    this.#shown.set(receiver, list);
    list.push(entry);
  }

  /** Whether a receiver, or every receiver, has shown as many entries as were accepted for it. */
  isComplete(receiver?: string): boolean {
    const expected = new Map<string, number>();
    for (const { to } of this.#accepted.values())
      if (receiver === undefined || to === receiver) expected.set(to, (expected.get(to) ?? 0) + 1);
    return [...expected].every(([to, count]) => (this.#shown.get(to)?.length ?? 0) >= count);
  }

  /**
   * The numbers of lost, duplicated and reordered messages, with sentences for the first findings.
   */
  result(): { lost: number; duplicated: number; reordered: number; findings: string[] } {
    const findings: string[] = [];
    let [lost, duplicated, reordered] = [0, 0, 0];
    const places = new Map<string, string>();
    for (const [text, { conversation, sequence }] of this.#accepted) {
      const place = `${conversation}/${sequence}`;
      const other = places.get(place);
      if (other !== undefined) {
        duplicated += 1;
        findings.push(`${place} was given to "${other}" and to "${text}"`);
      }
      places.set(place, text);
    }
    const seen = new Map<string, number>();
    for (const [receiver, list] of this.#shown) {
      const last = new Map<string, number>();
      for (const { text, conversation, sequence } of list) {
        seen.set(text, (seen.get(text) ?? 0) + 1);
        if (sequence <= (last.get(conversation) ?? 0)) {
          reordered += 1;
          findings.push(
            `${receiver} shows ${conversation}/${sequence} after ${last.get(conversation)}`,
          );
        }
        last.set(conversation, sequence);
        const at = this.#accepted.get(text);
        if (at && (at.conversation !== conversation || at.sequence !== sequence)) {
          duplicated += 1;
          findings.push(`"${text}" was accepted at ${at.sequence} and is shown at ${sequence}`);
        }
      }
    }
    for (const text of this.#accepted.keys()) {
      const times = seen.get(text) ?? 0;
      if (times === 0) lost += 1;
      if (times > 1) duplicated += times - 1;
      if (times !== 1) findings.push(`"${text}" was accepted once and shown ${times} times`);
    }
    return { lost, duplicated, reordered, findings: findings.slice(0, 20) };
  }
}
