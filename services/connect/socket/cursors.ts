/** What one session has of one conversation. Sequences as numbers: logs stay far below 2^53. */
export interface Cursor {
  /** The device has everything up to here; until it says so itself, what it need not acknowledge. */
  acked: number;
  /** Whether the device itself acknowledged. */
  acknowledged: boolean;
  /** The last sequence that was sent to the session, or that it sent itself. */
  sent: number;
  /** The last sequence that the device has to acknowledge: sent to it, and not its own. */
  expected: number;
  /** Something was not sent because the session could not take it. */
  missed: boolean;
  /** Deliveries repeated since the device last acknowledged something new. */
  attempts: number;
  /** `acked` when the last of them left. */
  ackedAtAttempt: number;
  /** No repetition before this, ms by the clock's elapsed time. */
  retryAtMs: number;
  /** Not 0: the session gave no sign up to this sequence and hears no repetition until it does. */
  behind: number;
}

/**
 * The cursors of one session: bounded, the least recently used goes first. For a group the session
 * always knows a base, so that losing its cursor loses no more than a repetition; what else is
 * forgotten the sweep finds.
 */
export class Cursors {
  readonly #limit: number;
  // Many sessions are idle, or in no group: a map costs as much as the rest of this.
  #cursors: Map<string, Cursor> | undefined;
  /** Up to where the session need not acknowledge; undefined: before the first delivery. */
  #groups: Map<string, number | undefined> | undefined;
  /** A cursor with something missed was forgotten. */
  evictedMissed = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(conversationId: string): Cursor | undefined {
    return this.#cursors?.get(conversationId);
  }

  /** The cursor, made with `base` as acknowledged if there is none. */
  ensure(conversationId: string, base: number): Cursor {
    this.#cursors ??= new Map();
    const cursors = this.#cursors;
    const known = cursors.get(conversationId);
    if (known) {
      cursors.delete(conversationId);
      cursors.set(conversationId, known);
      return known;
    }
    const cursor: Cursor = {
      acked: this.#groups?.get(conversationId) ?? base,
      acknowledged: false,
      sent: base,
      expected: 0,
      missed: false,
      attempts: 0,
      ackedAtAttempt: 0,
      retryAtMs: 0,
      behind: 0,
    };
    cursors.set(conversationId, cursor);
    if (cursors.size > this.#limit) this.#forgetOldest(cursors);
    return cursor;
  }

  /**
   * The session hears a group whose entries up to `base` it need not acknowledge; undefined when
   * nothing of the group was delivered here yet.
   */
  joinGroup(groupId: string, base: number | undefined): void {
    this.#groups ??= new Map();
    if (!this.#groups.has(groupId)) this.#groups.set(groupId, base);
  }

  leaveGroup(groupId: string): void {
    this.#groups?.delete(groupId);
  }

  inGroup(groupId: string): boolean {
    return this.#groups?.has(groupId) ?? false;
  }

  groups(): Iterable<string> {
    return this.#groups?.keys() ?? [];
  }

  /** Up to where the session has acknowledged, or need not; undefined when nothing is known. */
  acked(conversationId: string): number | undefined {
    return this.#cursors?.get(conversationId)?.acked ?? this.#groups?.get(conversationId);
  }

  /** Entries `first` to `last` were sent; the last that is not the session's own is `expected`. */
  sent(conversationId: string, entries: { first: number; last: number; expected: number }): Cursor {
    const cursor = this.ensure(conversationId, entries.first - 1);
    // Batches may come in another order than they were written.
    if (!cursor.acknowledged && entries.first <= cursor.acked) cursor.acked = entries.first - 1;
    cursor.sent = Math.max(cursor.sent, entries.last);
    cursor.expected = Math.max(cursor.expected, entries.expected);
    return cursor;
  }

  /** Entries from `first` on could not be sent. */
  missed(conversationId: string, first: number): void {
    this.ensure(conversationId, first - 1).missed = true;
  }

  /** The device acknowledged everything up to `sequence`. */
  acknowledge(conversationId: string, sequence: number): void {
    const cursor = this.ensure(conversationId, sequence);
    cursor.acknowledged = true;
    if (sequence < cursor.acked) return;
    cursor.acked = sequence;
    if (cursor.behind > 0 && sequence >= cursor.behind) {
      cursor.behind = 0;
      cursor.attempts = 0;
      cursor.ackedAtAttempt = sequence;
    }
  }

  /** Takes the conversations of which something was missed. */
  takeMissed(): string[] {
    const found: string[] = [];
    for (const [conversationId, cursor] of this.#cursors ?? []) {
      if (cursor.missed) found.push(conversationId);
      cursor.missed = false;
    }
    return found;
  }

  #forgetOldest(cursors: Map<string, Cursor>): void {
    const [oldest] = cursors;
    if (!oldest) return;
    const [conversationId, cursor] = oldest;
    cursors.delete(conversationId);
    if (cursor.missed) this.evictedMissed = true;
    if (this.#groups?.has(conversationId)) {
      this.#groups.set(conversationId, Math.max(cursor.acked, cursor.sent, cursor.behind));
    }
  }
}
