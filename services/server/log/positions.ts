/**
 * A position in the changes of the log. Transaction ids are compared instead of times, because the
 * clocks of servers differ and step. A change is at or after a position unless its transaction had
 * ended when the position was taken.
 */
export interface Position {
  /** im.history(): transaction ids of different histories are not comparable. */
  readonly history: string;
  /** Transaction id, decimal. */
  readonly change: string;
}

/** The position before all changes. */
export const START: Position = { history: "", change: "0" };

/** Largest xid8. */
const MAX_CHANGE = 2n ** 64n - 1n;

/**
 * The transaction of a position after a read: the lower of two bounds. Changes of transactions from
 * `lowestRunning` on may have been invisible. PostgreSQL reuses no id below `reached`, which is at most
 * the id after a committed change. After a crash, PostgreSQL reuses ids that were not written to the
 * disk, such as those of aborted transactions; a position above them would hide later changes.
 */
export function settledChange(lowestRunning: string, reached: bigint): string {
  return reached < BigInt(lowestRunning) ? String(reached) : lowestRunning;
}

/** Encodes a position as text: "<history>.<change>". */
export function encodePosition({ history, change }: Position): string {
  return `${history}.${change}`;
}

/** Parses a position; undefined for other text. */
export function parsePosition(text: string): Position | undefined {
  const match = /^([\w-]{1,64})\.(\d{1,20})$/.exec(text);
  if (match === null) return undefined;
  const [, history, change] = match;
  return BigInt(change!) > MAX_CHANGE ? undefined : { history: history!, change: change! };
}
