import assert from "node:assert/strict";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { type ModelEntry, tipText } from "./model.ts";

/** An entry, as a device reads it. */
export interface DeviceEntry extends ModelEntry {
  readonly messageId: string;
  /** Users who joined with this entry, and who left. */
  readonly joined: readonly string[];
  readonly left: readonly string[];
}

/** Decodes an entry. */
export function readEntry(entry: Entry): DeviceEntry {
  const { sequence, senderId: sender, clientMessageId: key, messageId, content } = entry;
  const common = { sequence: Number(sequence), sender, key, messageId };
  const kind = content?.kind;
  if (kind?.case === "text") return { ...common, text: kind.value.text, joined: [], left: [] };
  assert.equal(kind?.case, "tip", "the kind of an entry");
  const tip = kind.value.kind;
  switch (tip.case) {
    case "groupCreated":
    case "membersAdded": {
      const { userIds } = tip.value;
      return { ...common, text: tipText(tip.case, userIds), joined: userIds, left: [] };
    }
    case "memberRemoved": {
      const { userId } = tip.value;
      return { ...common, text: tipText(tip.case, [userId]), joined: [], left: [userId] };
    }
    case undefined:
      throw new Error("a tip without a kind");
  }
}

/** The log of one conversation on a device, as far as the device has it. */
export class DeviceLog {
  readonly #user: string;
  readonly #entries = new Map<number, DeviceEntry>();
  /** The device has all entries that the user may see up to here; 0 for none. */
  end = 0;

  constructor(user: string) {
    this.#user = user;
  }

  /**
   * Adds an entry. Returns whether it is new. Throws when the log has another entry at its sequence.
   */
  add(entry: DeviceEntry): boolean {
    const { sequence, joined } = entry;
    const known = this.#entries.get(sequence);
    if (known !== undefined) {
      assert.deepEqual(entry, known, "an entry that was delivered twice");
      return false;
    }
    this.#entries.set(sequence, entry);
    if (joined.includes(this.#user)) this.startAt(sequence);
    this.#extend();
    return true;
  }

  /** The user sees nothing before this sequence. */
  startAt(sequence: number): void {
    this.end = Math.max(this.end, sequence - 1);
    this.#extend();
  }

  /** Whether there are entries behind a gap. */
  get hasGap(): boolean {
    for (const sequence of this.#entries.keys()) if (sequence > this.end) return true;
    return false;
  }

  /** The entries from first to last, with only the fields of the model. */
  range(first: number, last: number): ModelEntry[] {
    return [...this.#entries.values()]
      .filter(({ sequence }) => sequence >= first && sequence <= last)
      .sort((a, b) => a.sequence - b.sequence)
      .map(({ sequence, sender, key, text }) => ({ sequence, sender, key, text }));
  }

  #extend(): void {
    while (this.#entries.has(this.end + 1)) this.end++;
  }
}
