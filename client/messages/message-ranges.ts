import type { ClientStore, MessageRange, Stored } from "../store.ts";
import { addRange, earlier, later, raiseExact } from "./ranges.ts";

/** Maximum ranges of a conversation; beyond it the oldest are forgotten. */
const MAX_RANGES = 100;

/**
 * The ranges of all conversations, in the store: which messages the application has without a gap, and up
 * to which change. No range is exact beyond the position of the log, which brings all later changes. So a
 * range that is exact to the position moves on with it.
 */
export class MessageRanges {
  readonly #store: Pick<ClientStore, "saveRanges">;
  readonly #ranges = new Map<string, readonly MessageRange[]>();
  readonly #jumps = new Map<string, bigint>();

  constructor(store: Pick<ClientStore, "saveRanges">) {
    this.#store = store;
  }

  /** Restores the ranges from the store. */
  restore({ ranges: stored, positions }: Stored): void {
    for (const [id, { at, ranges }] of stored) {
      const position = positions.get(id)?.sequence ?? at;
      this.#ranges.set(id, position > at ? follow(ranges, at, position) : ranges);
    }
  }

  /** The ranges of a conversation, ascending, without overlaps. */
  of(conversationId: string): readonly MessageRange[] {
    return this.#ranges.get(conversationId) ?? [];
  }

  /** Conversations that have ranges. */
  get conversationIds(): readonly string[] {
    return [...this.#ranges.keys()];
  }

  /** The log moved on from one position to another; the application got all entries between them. */
  moved(conversationId: string, from: bigint, to: bigint): void {
    const before = this.of(conversationId);
    const followed = follow(before, from, to);
    if (before.some(({ high, exactTo }) => high === from && exactTo === from))
      this.#ranges.set(conversationId, followed);
    else
      this.#save(conversationId, to, addRange(followed, { low: from + 1n, high: to, exactTo: to }));
  }

  /** The log jumped to a position: the ranges stay exact to the former one. */
  jumped(conversationId: string, to: bigint): void {
    this.#jumps.set(conversationId, to);
    this.#save(conversationId, to, this.of(conversationId));
  }

  /** Whether the application got all entries after a position of the log. */
  hasAllSince(conversationId: string, position: bigint): boolean {
    return (this.#jumps.get(conversationId) ?? 0n) <= position;
  }

  /** The application gets a page. */
  read(conversationId: string, position: bigint, page: MessageRange): void {
    const high = earlier(page.high, position);
    if (page.low > high) return;
    const range = { low: page.low, high, exactTo: earlier(page.exactTo, position) };
    this.#save(conversationId, position, addRange(this.of(conversationId), range));
  }

  /** The application got all changes of a range up to its `exactTo` that came after `after`. */
  madeExact(
    conversationId: string,
    position: bigint,
    { range, after }: { range: MessageRange; after: bigint },
  ): void {
    const exact = { ...range, exactTo: earlier(range.exactTo, position) };
    this.#save(conversationId, position, raiseExact(this.of(conversationId), exact, after));
  }

  /** The log was reset: nothing is left of it. */
  reset(conversationId: string): void {
    this.#jumps.delete(conversationId);
    this.#save(conversationId, 0n, []);
  }

  #save(conversationId: string, at: bigint, all: readonly MessageRange[]): void {
    const ranges = all.slice(-MAX_RANGES);
    this.#ranges.set(conversationId, ranges);
    this.#store.saveRanges(conversationId, { at, ranges });
  }
}

/** The ranges after the log moved on from `at` to `to`. */
function follow(ranges: readonly MessageRange[], at: bigint, to: bigint): MessageRange[] {
  return ranges.map((range) => {
    if (range.exactTo !== at) return range;
    return { ...range, high: range.high === at ? to : range.high, exactTo: later(at, to) };
  });
}
