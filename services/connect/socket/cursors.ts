/**
 * Delivery state of one conversation for one session. Sequences are numbers: logs stay far below
 * 2^53.
 */
export interface Cursor {
  /**
   * The device has every entry up to this sequence. Until its first acknowledgement: the last
   * sequence that it need not acknowledge.
   */
  acked: number;
  /** Whether the device has acknowledged at least once. */
  acknowledged: boolean;
  /** Epoch of the last acknowledgement that had one; 0 before it. */
  epoch: bigint;
  /** The last sequence sent to the session or by it. */
  sent: number;
  /** The last sequence that the device must acknowledge: sent to it by another session. */
  expected: number;
  /** Whether an entry was not sent, because the session could not accept it. */
  missed: boolean;
  /** Redeliveries since the device last acknowledged a new entry. */
  attempts: number;
  /** `acked` at the time of the last redelivery. */
  ackedAtAttempt: number;
  /** Earliest time of the next redelivery, ms of `Clock.elapsed`. */
  retryAtMs: number;
  /**
   * The sequence up to which the session is behind; 0 when it is not. It gets no redelivery until
   * it acknowledges up to this sequence.
   */
  behind: number;
}

/**
 * The cursors of one session, an LRU cache: at its bound it evicts the least recently used cursor.
 * The base of a group is kept for as long as the session hears the group, so evicting its cursor
 * loses at most a redelivery. For other conversations, the sweep finds the missed entries of an
 * evicted cursor.
 */
export class Cursors {
  readonly #limit: number;
  // Absent while empty: many sessions are idle or in no group, and a Map takes as much memory as
  // all other fields of this object.
  #cursors: Map<string, Cursor> | undefined;
  /**
   * By group: the last sequence that needs no acknowledgement; undefined before the first delivery.
   */
  #groups: Map<string, number | undefined> | undefined;
  /** Whether a cursor with missed entries was evicted. */
  evictedMissed = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(conversationId: string): Cursor | undefined {
    return this.#cursors?.get(conversationId);
  }

  /** Returns the cursor. A new one counts entries up to `base` as acknowledged. */
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
      epoch: 0n,
      sent: base,
      expected: 0,
      missed: false,
      attempts: 0,
      ackedAtAttempt: 0,
      retryAtMs: 0,
      behind: 0,
    };
    cursors.set(conversationId, cursor);
    if (cursors.size > this.#limit) this.#evictOldest(cursors);
    return cursor;
  }

  /**
   * Records that the session hears a group. It need not acknowledge entries up to `base`; undefined
   * when no entry of the group was delivered on this instance yet.
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

  /**
   * The last sequence that the session has acknowledged or need not acknowledge; undefined when the
   * conversation is unknown.
   */
  acked(conversationId: string): number | undefined {
    return this.#cursors?.get(conversationId)?.acked ?? this.#groups?.get(conversationId);
  }

  /**
   * Records that entries `first` to `last` were sent. `expected` is the last of them that another
   * session wrote, or 0.
   */
  sent(conversationId: string, entries: { first: number; last: number; expected: number }): Cursor {
    const cursor = this.ensure(conversationId, entries.first - 1);
    // Batches may arrive out of order.
    if (!cursor.acknowledged && entries.first <= cursor.acked) cursor.acked = entries.first - 1;
    cursor.sent = Math.max(cursor.sent, entries.last);
    cursor.expected = Math.max(cursor.expected, entries.expected);
    return cursor;
  }

  /** Records that entries from `first` on were not sent. */
  missed(conversationId: string, first: number): void {
    this.ensure(conversationId, first - 1).missed = true;
  }

  /**
   * Records that the device acknowledged every entry up to `sequence`. An acknowledgement of another
   * epoch replaces a higher one: that one was of entries that are no longer in the log.
   */
  acknowledge(conversationId: string, sequence: number, epoch = 0n): void {
    const cursor = this.ensure(conversationId, sequence);
    cursor.acknowledged = true;
    const isOtherLog = epoch !== 0n && cursor.epoch !== 0n && epoch !== cursor.epoch;
    if (epoch !== 0n) cursor.epoch = epoch;
    if (sequence < cursor.acked && !isOtherLog) return;
    cursor.acked = sequence;
    if (cursor.behind > 0 && sequence >= cursor.behind) {
      cursor.behind = 0;
      cursor.attempts = 0;
      cursor.ackedAtAttempt = sequence;
    }
  }

  /** Returns the conversations with missed entries and clears their marks. */
  takeMissed(): string[] {
    const found: string[] = [];
    for (const [conversationId, cursor] of this.#cursors ?? []) {
      if (cursor.missed) found.push(conversationId);
      cursor.missed = false;
    }
    return found;
  }

  #evictOldest(cursors: Map<string, Cursor>): void {
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
