import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import type { MessageRange } from "../store.ts";
import { changeOf, isLine } from "./change.ts";
import { applyChange, changedSequenceOf, deletedForMe, newerOf } from "./fold.ts";
import { KeptChanges, targetsOf } from "./kept-changes.ts";
import { addRange, later, merged, raiseExact, removePart } from "./ranges.ts";

const MAX_MESSAGES = 10_000;
/**
 * Maximum recent changes that are kept, for messages and earlier changes that arrive after them. A page that the
 * server read before a change arrives within seconds after it.
 */
const MAX_CHANGES = 1_000;
/** Maximum ranges, with gaps between them, in each of `#ranges` and `#seen`. */
const MAX_PARTS = 100;

/** A page of messages without a gap. */
export interface MessagePage extends MessageRange {
  /** All messages and tips from `low` to `high` that the user sees, ascending. */
  readonly messages: readonly Entry[];
}

interface Held {
  /** The message as it was read or delivered, after the changes that are no longer kept. */
  readonly base: Entry;
  /** The message after all changes, the kept ones included. */
  readonly view: Entry;
}

/**
 * The messages of one conversation as a user sees them, in memory. Entries of the log and responses of
 * HistoryService may arrive in any order, late or more than once: the result is the same.
 *
 * `ranges` are the parts of the conversation whose messages are held without a gap, each with the sequence up to
 * which all changes are applied (`exactTo`). Where changes were missed, `exactTo` stays behind the log: pass it as
 * after_sequence to ListChangedMessages, pass the messages that it returns to `update`, then call `markExact`.
 * Holds at most `maxMessages` messages: beyond that it drops the oldest, with their ranges.
 */
export class ConversationMessages {
  readonly #userId: string;
  readonly #maxMessages: number;
  readonly #held = new Map<bigint, Held>();
  /** The sequences of the held messages, ascending. */
  #order: bigint[] = [];
  #ranges: MessageRange[] = [];
  /**
   * The entries of the log that were added, as ranges with an unused `exactTo`. All changes among them are
   * kept, so that they also apply to messages that arrive later.
   */
  #seen: MessageRange[] = [];
  readonly #changes: KeptChanges;
  /** Sequence of the last change that was evicted; `#seen` begins after it. */
  #floor = 0n;

  /** `userId`: the user whose own reactions the messages show. */
  constructor(options: {
    readonly userId: string;
    /** Maximum messages; default 10,000. */
    readonly maxMessages?: number;
    /** Maximum changes that are kept for messages that arrive later; default 1,000. */
    readonly maxChanges?: number;
  }) {
    this.#userId = options.userId;
    this.#maxMessages = options.maxMessages ?? MAX_MESSAGES;
    this.#changes = new KeptChanges(options.maxChanges ?? MAX_CHANGES);
  }

  /** The ranges, ascending, without overlaps. */
  get ranges(): readonly MessageRange[] {
    return this.#ranges;
  }

  /** A message; undefined when it is not held, or when the user deleted it for themselves. */
  get(sequence: bigint): Entry | undefined {
    const view = this.#held.get(sequence)?.view;
    return view?.state?.deletedForMe ? undefined : view;
  }

  /** The messages from `low` to `high`, ascending, without those that the user deleted for themselves. */
  list({ low, high }: Pick<MessageRange, "low" | "high">): Entry[] {
    return this.#between(low, high)
      .map((sequence) => this.get(sequence))
      .filter((message) => message !== undefined);
  }

  /** Adds entries of the log: messages, tips, changes, and entries of unknown kinds. */
  add(...entries: readonly Entry[]): void {
    for (const entry of entries) {
      const { sequence } = entry;
      if (changeOf(entry)) this.#addChange(entry);
      else if (isLine(entry)) this.#hold(entry);
      const place = { low: sequence, high: sequence, exactTo: sequence };
      this.#ranges = addRange(this.#ranges, place);
      if (sequence > this.#floor) this.#seen = addRange(this.#seen, { ...place, exactTo: 0n });
      this.#settle();
    }
  }

  /**
   * Adds a page of ListMessages. A held message that is missing in the page was deleted by the user for
   * themselves. Throws a RangeError when `exactTo` is less than `high`.
   */
  addPage({ messages, low, high, exactTo }: MessagePage): void {
    if (exactTo < high) throw new RangeError(`a page up to ${high} is exact to ${exactTo} only`);
    const present = new Set(messages.map(({ sequence }) => sequence));
    for (const sequence of this.#between(low, high)) {
      if (!present.has(sequence)) this.#hold(deletedForMe(this.#held.get(sequence)!.base));
    }
    for (const message of messages) this.#hold(message);
    if (low <= high) this.#ranges = addRange(this.#ranges, { low, high, exactTo });
    this.#settle();
  }

  /** Adds messages of GetMessages. */
  addRead(messages: readonly Entry[]): void {
    for (const message of messages) {
      this.#hold(message);
      const { sequence } = message;
      const exactTo = later(sequence, changedSequenceOf(message));
      this.#ranges = addRange(this.#ranges, { low: sequence, high: sequence, exactTo });
    }
    this.#settle();
  }

  /** Updates held messages with those of ListChangedMessages; ignores messages that are not held. */
  update(messages: readonly Entry[]): void {
    for (const message of messages) if (this.#held.has(message.sequence)) this.#hold(message);
  }

  /**
   * Raises `exactTo` of the messages from `low` to `high`, when `update` got all their changes after the
   * sequence `after` and up to `exactTo`. Ignores messages whose `exactTo` is less than `after`: they lack
   * earlier changes.
   */
  markExact(range: MessageRange, after = 0n): void {
    this.#ranges = raiseExact(this.#ranges, range, after);
    this.#settle();
  }

  /** Marks messages as deleted by the user for themselves. */
  deleteForMe(sequences: readonly bigint[]): void {
    for (const sequence of sequences) {
      const held = this.#held.get(sequence);
      if (held) this.#hold(deletedForMe(held.base));
    }
  }

  /** Drops everything, as needed when the log has another epoch. */
  clear(): void {
    this.#held.clear();
    this.#changes.clear();
    this.#order = [];
    this.#ranges = [];
    this.#seen = [];
    this.#floor = 0n;
  }

  #addChange(entry: Entry): void {
    const change = withOwnDeltas(entry, this.#userId);
    if (!this.#changes.add(change)) return;
    for (const target of targetsOf(change)) {
      const held = this.#held.get(target);
      if (!held) continue;
      // If a later change is already applied, apply all kept changes again, in order.
      const view =
        change.sequence > changedSequenceOf(held.view)
          ? applyChange(held.view, change, this.#userId)
          : this.#fold(held.base);
      this.#held.set(target, { ...held, view });
    }
    const evicted = this.#changes.evict();
    if (evicted) this.#applyToBases(evicted);
  }

  /** Applies an evicted change to the bases of held messages. Messages that arrive later may lack it. */
  #applyToBases(change: Entry): void {
    for (const target of targetsOf(change)) {
      const held = this.#held.get(target);
      if (!held) continue;
      this.#held.set(target, { ...held, base: applyChange(held.base, change, this.#userId) });
    }
    this.#floor = later(this.#floor, change.sequence);
    this.#seen = removePart(this.#seen, { low: 0n, high: this.#floor });
  }

  #hold(message: Entry): void {
    const { sequence } = message;
    const held = this.#held.get(sequence);
    const base = held ? newerOf(held.base, message) : message;
    if (base === held?.base) return;
    if (!held) this.#order.splice(this.#indexOf(sequence), 0, sequence);
    this.#held.set(sequence, { base, view: this.#fold(base) });
  }

  #fold(base: Entry): Entry {
    const changes = this.#changes.of(base.sequence);
    return changes.reduce((view, change) => applyChange(view, change, this.#userId), base);
  }

  /** Raises `exactTo` of the ranges over the entries in `#seen`, and drops what exceeds the maxima. */
  #settle(): void {
    const moved = this.#ranges.map((range) => {
      const next = range.exactTo + 1n;
      const run = this.#seen.find(({ low, high }) => low <= next && high >= next);
      return run ? { ...range, exactTo: run.high } : range;
    });
    this.#ranges = merged(moved);
    this.#seen = this.#seen.slice(-MAX_PARTS);
    const tooMany = this.#ranges.length - MAX_PARTS;
    if (tooMany > 0) this.#dropUpTo(this.#ranges[tooMany - 1]!.high);
    const beyond = this.#order.length - this.#maxMessages;
    if (beyond > 0) this.#dropUpTo(this.#order[beyond - 1]!);
  }

  #dropUpTo(high: bigint): void {
    const count = this.#indexOf(high + 1n);
    for (const sequence of this.#order.splice(0, count)) this.#held.delete(sequence);
    this.#ranges = removePart(this.#ranges, { low: 0n, high });
  }

  #between(low: bigint, high: bigint): bigint[] {
    return this.#order.slice(this.#indexOf(low), this.#indexOf(high + 1n));
  }

  /** Index of the first held sequence that is not less than the given one. */
  #indexOf(sequence: bigint): number {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#order[middle]! < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The change without the deltas of other users: in a large group they take much memory. */
function withOwnDeltas(entry: Entry, userId: string): Entry {
  const kind = entry.content?.kind;
  if (kind?.case !== "reactions") return entry;
  const deltas = kind.value.deltas.filter((delta) => delta.userId === userId);
  const value = { ...kind.value, deltas };
  return { ...entry, content: { ...entry.content!, kind: { case: kind.case, value } } };
}
