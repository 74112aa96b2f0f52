/** The accounts of a fake auth: every id below `unknownFrom` exists, and is active at first. */
export class TestAccounts {
  /** The users that servers asked for, in the order of the calls. */
  readonly asked: string[] = [];
  /** Number of calls that listed changes. */
  polls = 0;
  readonly #unknownFrom: number;
  readonly #states = new Map<string, "disabled" | "deleted">();
  #changes: string[] = [];

  constructor(unknownFrom: number) {
    this.#unknownFrom = unknownFrom;
  }

  change(userId: string, state: "active" | "disabled" | "deleted"): void {
    if (state === "active") this.#states.delete(userId);
    else this.#states.set(userId, state);
    this.#changes.push(userId);
  }

  /** Restores an old backup: all accounts are active, and the changes are forgotten. */
  restore(): void {
    this.#states.clear();
    this.#changes = [];
  }

  /** The answer of CheckUsers. */
  check(userIds: readonly string[]) {
    this.asked.push(...userIds);
    const existing = userIds.filter(
      (userId) => Number(userId) < this.#unknownFrom && this.#states.get(userId) !== "deleted",
    );
    const disabled = existing.filter((userId) => this.#states.get(userId) === "disabled");
    return { userIds: existing, disabledUserIds: disabled };
  }

  /** The answer of ListAccountChanges, in pages of two. */
  changesSince(cursor: bigint | undefined) {
    this.polls += 1;
    const last = this.#changes.length;
    if (cursor === undefined || cursor > last) return { userIds: [], nextCursor: BigInt(last) };
    const from = Number(cursor);
    const userIds = this.#changes.slice(from, from + 2);
    const nextCursor = BigInt(from + userIds.length);
    return { userIds, nextCursor, hasMore: nextCursor < last };
  }
}
