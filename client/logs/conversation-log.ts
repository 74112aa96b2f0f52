import type { Entry } from "../../gen/lucky/message/v1/message_pb.js";

/** An entry in its place, and whether it is this session's own send. */
export interface Released {
  readonly entry: Entry;
  readonly own: boolean;
}

/** Entries of others that wait for a gap to close; what comes beyond is fetched again later. */
const MAX_BUFFERED = 1_000;

/**
 * One conversation's log as this device has it: takes entries in any order, late or twice, and gives
 * them back in order, once, without a gap.
 */
export class ConversationLog {
  #last: bigint | undefined;
  #known = 0n;
  readonly #buffer = new Map<bigint, Released>();

  /** `last`: the sequence up to which the device has everything; undefined when not known yet. */
  constructor(last?: bigint) {
    this.#last = last;
    this.#known = last ?? 0n;
  }

  /** Everything up to here was given out. Undefined until the log begins. */
  get last(): bigint | undefined {
    return this.#last;
  }

  /** The greatest sequence heard of. */
  get known(): bigint {
    return this.#known;
  }

  /** Whether entries are missing that exist. */
  get behind(): boolean {
    return this.#last !== undefined && this.#known > this.#last;
  }

  /** The smallest sequence that waits; undefined when none does. */
  get lowestBuffered(): bigint | undefined {
    let lowest: bigint | undefined;
    for (const sequence of this.#buffer.keys()) {
      if (lowest === undefined || sequence < lowest) lowest = sequence;
    }
    return lowest;
  }

  /** Somebody says that the conversation goes up to here. */
  raiseKnown(sequence: bigint): void {
    if (sequence > this.#known) this.#known = sequence;
  }

  /** The device takes entries after `last` from now on. Returns those that waited for it. */
  begin(last: bigint): Released[] {
    if (this.#last !== undefined) return [];
    return this.#jump(last);
  }

  /** Takes one entry; returns what is in order now, oldest first. */
  offer(entry: Entry, own: boolean): Released[] {
    this.raiseKnown(entry.sequence);
    if (this.#last !== undefined && entry.sequence <= this.#last) return [];
    const buffered = this.#buffer.get(entry.sequence);
    const begun = this.#last !== undefined;
    const isNext = begun && entry.sequence === this.#last! + 1n;
    const hasRoom = this.#buffer.size < MAX_BUFFERED;
    // Own sends could not be told from those of other devices when they are fetched again.
    if (isNext || hasRoom || buffered || (own && begun))
      this.#buffer.set(entry.sequence, { entry, own: own || buffered?.own === true });
    return this.#release();
  }

  /**
   * Takes the page that the server has after `last`, in ascending order. The server leaves nothing
   * out that the user may see, so a page that starts later is no gap.
   */
  offerPage(entries: readonly Entry[], own: (entry: Entry) => boolean): Released[] {
    const first = entries[0];
    if (!first || this.#last === undefined) return [];
    const released = first.sequence > this.#last + 1n ? this.#jump(first.sequence - 1n) : [];
    for (const entry of entries) released.push(...this.offer(entry, own(entry)));
    return released;
  }

  /** The server has nothing after `last` for this user: what was heard of is not to be had. */
  end(): void {
    this.#buffer.clear();
    this.#known = this.#last ?? 0n;
  }

  #jump(last: bigint): Released[] {
    this.#last = last;
    this.raiseKnown(last);
    for (const sequence of this.#buffer.keys()) {
      if (sequence <= last) this.#buffer.delete(sequence);
    }
    return this.#release();
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
