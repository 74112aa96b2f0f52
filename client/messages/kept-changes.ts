import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";
import { changeOf } from "./change.ts";

/** The recent changes of a conversation, in the order of their sequences, up to a maximum. */
export class KeptChanges {
  readonly #max: number;
  readonly #sorted: Entry[] = [];
  readonly #byTarget = new Map<bigint, Entry[]>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Adds a change. Returns false when it is kept already. */
  add(change: Entry): boolean {
    if (!insert(this.#sorted, change)) return false;
    for (const target of targetsOf(change)) {
      const changes = this.#byTarget.get(target) ?? [];
      this.#byTarget.set(target, changes);
      insert(changes, change);
    }
    return true;
  }

  /** The changes of a message, ascending. */
  of(target: bigint): readonly Entry[] {
    return this.#byTarget.get(target) ?? [];
  }

  /** Removes the oldest change and returns it when there are more than the maximum. */
  evict(): Entry | undefined {
    if (this.#sorted.length <= this.#max) return undefined;
    const oldest = this.#sorted.shift()!;
    for (const target of targetsOf(oldest)) {
      const changes = this.#byTarget.get(target) ?? [];
      changes.shift();
      if (changes.length === 0) this.#byTarget.delete(target);
    }
    return oldest;
  }

  clear(): void {
    this.#sorted.length = 0;
    this.#byTarget.clear();
  }
}

export function targetsOf(change: Entry): readonly bigint[] {
  return changeOf(change)?.targetSequences ?? [];
}

/** Inserts in ascending order. Returns false when an entry with this sequence is there. */
function insert(sorted: Entry[], entry: Entry): boolean {
  // From the end: most changes are newer than all before.
  let at = sorted.length;
  while (at > 0 && sorted[at - 1]!.sequence > entry.sequence) at--;
  if (sorted[at - 1]?.sequence === entry.sequence) return false;
  sorted.splice(at, 0, entry);
  return true;
}
