import type { Clock, Timer } from "#platform/clock.ts";
import { hash } from "./conversation-hash.ts";

export interface DeferredCursorsOptions {
  clock: Clock;
  /** Shortest time between two flushes of a user's cursors, ms; 0: no cursor is held. */
  intervalMs: number;
  /** Maximum cursors held; at this bound the users that are due next are flushed early. */
  limit: number;
  /** Number of cursors that `flush` accepts now. */
  room: () => number;
  /** Passes one cursor on. */
  flush: (userId: string, groupId: string, sequence: number, epoch: bigint) => void;
  /** Reports how many cursors were flushed early, at the bound. */
  flushedEarly: (cursors: number) => void;
}

/** A delivered cursor of a group, with the epoch in which its sequence was received. */
interface HeldCursor {
  sequence: number;
  readonly epoch: bigint;
}

/** Parts of the interval: each tick flushes the users of one slot. */
const SLOTS = 60;
/** Interval of the ticks of a draining instance, ms. Each tick flushes all that there is room for. */
const DRAIN_TICK_MS = 50;

/**
 * Delivered cursors of groups, one per user and group, held until the next flush of their user. A
 * user's slot is a hash of its id, so the flushes of a group's members are spread over the
 * interval. When `room` is used up, the remaining cursors of a slot wait for the next tick.
 */
export class DeferredCursors {
  readonly #options: DeferredCursorsOptions;
  /** By user, then by group. */
  readonly #held = new Map<string, Map<string, HeldCursor>>();
  /** The users that hold cursors, by slot. */
  readonly #slots: readonly Set<string>[] = Array.from({ length: SLOTS }, () => new Set<string>());
  /** The slot of the next tick. */
  #due = 0;
  #count = 0;
  /** Runs while cursors are held. */
  #timer: Timer | undefined;
  #draining = false;

  constructor(options: DeferredCursorsOptions) {
    this.#options = options;
  }

  /** Number of cursors held. */
  get count(): number {
    return this.#count;
  }

  /**
   * Holds a cursor; it replaces a lower one of the same user and group, and flushes one of another epoch.
   * Returns false when the caller must flush it: draining, interval 0, or at the limit without room to
   * flush early.
   */
  hold(userId: string, groupId: string, sequence: number, epoch = 0n): boolean {
    const { intervalMs, limit } = this.#options;
    if (this.#draining || intervalMs === 0) return false;
    const known = this.#held.get(userId)?.get(groupId);
    if (known?.epoch === epoch) {
      known.sequence = Math.max(known.sequence, sequence);
      return true;
    }
    if (known !== undefined) this.#options.flush(userId, groupId, known.sequence, known.epoch);
    else {
      if (this.#count >= limit) this.#flushEarly();
      if (this.#count >= limit) return false;
      this.#count += 1;
    }
    let groups = this.#held.get(userId);
    if (!groups) {
      groups = new Map();
      this.#held.set(userId, groups);
      this.#slotOf(userId).add(userId);
    }
    groups.set(groupId, { sequence, epoch });
    this.#schedule();
    return true;
  }

  /** Removes and returns the cursor of a user, group and epoch; 0 when none is held. */
  take(userId: string, groupId: string, epoch = 0n): number {
    const groups = this.#held.get(userId);
    const held = groups?.get(groupId);
    if (!groups || held?.epoch !== epoch) return 0;
    groups.delete(groupId);
    this.#count -= 1;
    if (groups.size === 0) this.#forget(userId);
    return held.sequence;
  }

  /** Flushes the cursors of a user now; those without room follow at the user's next tick. */
  flushUser(userId: string): void {
    if (this.#flush(userId, this.#options.room)) this.#forget(userId);
  }

  /** Flushes all cursors as fast as there is room, and holds no further ones. */
  drain(): void {
    this.#draining = true;
    this.#timer?.stop();
    this.#tick();
  }

  /** Flushes all cursors at once, even without room, and holds no further ones. */
  close(): void {
    this.#draining = true;
    this.#timer?.stop();
    for (const userId of this.#held.keys()) this.#flush(userId, () => Number.POSITIVE_INFINITY);
    this.#held.clear();
    for (const slot of this.#slots) slot.clear();
  }

  #schedule(): void {
    if (this.#timer || this.#count === 0) return;
    const tickMs = this.#draining ? DRAIN_TICK_MS : this.#options.intervalMs / SLOTS;
    this.#timer = this.#options.clock.after(tickMs, () => this.#tick());
  }

  #tick(): void {
    this.#timer = undefined;
    const slots = this.#draining ? SLOTS : 1;
    for (let nr = 0; nr < slots && this.#flushDue(); nr += 1);
    this.#schedule();
  }

  #flushEarly(): void {
    const { limit, flushedEarly } = this.#options;
    const before = this.#count;
    for (let nr = 0; nr < SLOTS && this.#count >= limit && this.#flushDue(); nr += 1);
    flushedEarly(before - this.#count);
  }

  /**
   * Flushes the users of the slot that is due, and moves to the next slot. Returns false, and stays
   * at the slot, when there is no room for all of its cursors.
   */
  #flushDue(): boolean {
    for (const userId of this.#slots[this.#due]!) {
      if (!this.#flush(userId, this.#options.room)) return false;
      this.#forget(userId);
    }
    this.#due = (this.#due + 1) % SLOTS;
    return true;
  }

  /** Flushes the cursors of a user while there is room. Returns whether none is left. */
  #flush(userId: string, room: () => number): boolean {
    const groups = this.#held.get(userId);
    for (const [groupId, held] of groups ?? []) {
      if (room() <= 0) return false;
      groups!.delete(groupId);
      this.#count -= 1;
      this.#options.flush(userId, groupId, held.sequence, held.epoch);
    }
    return true;
  }

  #forget(userId: string): void {
    this.#held.delete(userId);
    this.#slotOf(userId).delete(userId);
  }

  #slotOf(userId: string): Set<string> {
    return this.#slots[(hash(userId) >>> 0) % SLOTS]!;
  }
}
