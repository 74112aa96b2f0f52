import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";

/** An entry that is next in order; `own` when this client sent it. */
export interface Released {
  readonly entry: Entry;
  readonly own: boolean;
}

/**
 * Largest number of entries buffered behind a gap; later ones are dropped and fetched once it is
 * closed.
 */
const MAX_BUFFERED = 1_000;

/**
 * The log of one conversation on this device: takes entries in any order, late or duplicated, and
 * releases them in order, deduplicated, without a gap.
 */
export class ConversationLog {
  #last: bigint | undefined;
  #known = 0n;
  #epoch: bigint;
  readonly #buffer = new Map<bigint, Released>();

  /**
   * `last`: the sequence up to which the device has all entries; undefined when not known yet.
   * `epoch`: that of the log in which they arrived; 0 when not known yet.
   */
  constructor(last?: bigint, epoch = 0n) {
    this.#last = last;
    this.#known = last ?? 0n;
    this.#epoch = epoch;
  }

  /** Sequence of the last released entry. Undefined until the log begins. */
  get last(): bigint | undefined {
    return this.#last;
  }

  /** Epoch of the log; 0 when not known yet. */
  get epoch(): bigint {
    return this.#epoch;
  }

  /** The greatest sequence known to exist. */
  get known(): bigint {
    return this.#known;
  }

  /** Whether existing entries are missing here. */
  get behind(): boolean {
    return this.#last !== undefined && this.#known > this.#last;
  }

  /** The smallest buffered sequence; undefined when the buffer is empty. */
  get lowestBuffered(): bigint | undefined {
    let lowest: bigint | undefined;
    for (const sequence of this.#buffer.keys()) {
      if (lowest === undefined || sequence < lowest) lowest = sequence;
    }
    return lowest;
  }

  /** Records that the conversation has entries up to the sequence. */
  raiseKnown(sequence: bigint): void {
    if (sequence > this.#known) this.#known = sequence;
  }

  /**
   * Takes the epoch that the server names for the log; 0: the server names none. "reset": it is
   * another one than before, so the log was discarded and begins at 0. Sequences known to exist stay:
   * the next fetch finds out whether they still do.
   */
  enterEpoch(epoch: bigint): "same" | "learned" | "reset" {
    if (epoch === 0n || epoch === this.#epoch) return "same";
    const known = this.#epoch !== 0n;
    this.#epoch = epoch;
    if (!known) return "learned";
    if (this.#last !== undefined) this.#last = 0n;
    this.#buffer.clear();
    return "reset";
  }

  /** Begins the log after `last`. Returns the buffered entries that are now in order. */
  begin(last: bigint): Released[] {
    if (this.#last !== undefined) return [];
    return this.jump(last);
  }

  /** Continues after `last`. Returns the buffered entries that are now in order. */
  jump(last: bigint): Released[] {
    this.#last = last;
    this.raiseKnown(last);
    for (const sequence of this.#buffer.keys()) {
      if (sequence <= last) this.#buffer.delete(sequence);
    }
    return this.#release();
  }

  /** Takes one entry; returns the entries that are now in order, oldest first. */
  offer(entry: Entry, own: boolean): Released[] {
    this.raiseKnown(entry.sequence);
    if (this.#last !== undefined && entry.sequence <= this.#last) return [];
    const buffered = this.#buffer.get(entry.sequence);
    const begun = this.#last !== undefined;
    const isNext = begun && entry.sequence === this.#last! + 1n;
    const hasRoom = this.#buffer.size < MAX_BUFFERED;
    // Own sends are buffered beyond the bound: after a fetch they would look like sends of other
    // devices.
    if (isNext || hasRoom || buffered || (own && begun))
      this.#buffer.set(entry.sequence, { entry, own: own || buffered?.own === true });
    return this.#release();
  }

  /**
   * Takes the page that follows `last`, in ascending order. The server omits no entry that the user
   * may see, so a page that starts later does not contain a gap.
   */
  offerPage(entries: readonly Entry[], own: (entry: Entry) => boolean): Released[] {
    const first = entries[0];
    if (!first || this.#last === undefined) return [];
    const released = first.sequence > this.#last + 1n ? this.jump(first.sequence - 1n) : [];
    for (const entry of entries) released.push(...this.offer(entry, own(entry)));
    return released;
  }

  /** Closes the gap when the server has no entry after `last` for this user: clears the buffer. */
  end(): void {
    this.#buffer.clear();
    this.#known = this.#last ?? 0n;
  }

  #release(): Released[] {
    const released: Released[] = [];
    while (this.#last !== undefined) {
      const next = this.#buffer.get(this.#last + 1n);
      if (!next) break;
      this.#last += 1n;
      this.#buffer.delete(this.#last);
      released.push(next);
    }
    return released;
  }
}
