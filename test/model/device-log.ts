import assert from "node:assert/strict";
import type { Content } from "#gen/lucky/message/v1/content_pb.js";
import type { Entry, MessageState } from "#gen/lucky/message/v1/entry_pb.js";
import { changeText } from "./changes.ts";
import { RECALLED } from "./message-state.ts";
import { tipText } from "./model.ts";

/** An entry, as a device reads it. */
export interface DeviceEntry {
  readonly sequence: number;
  readonly sender: string;
  readonly key: string;
  readonly messageId: string;
  /** As in the model. For a message: its current text, or RECALLED when it has no content. */
  readonly text: string;
  /** State of a message, as the server returned it; undefined for other entries. */
  readonly snapshot: Snapshot | undefined;
  /** The change in it; undefined for other entries. */
  readonly change: DeviceChange | undefined;
  /** Users who joined with this entry, and who left. */
  readonly joined: readonly string[];
  readonly left: readonly string[];
}

/** A message and its state after the change at a sequence. */
export interface Snapshot {
  readonly changed: number;
  readonly text: string;
  readonly edited: boolean;
  readonly recalledBy: string | undefined;
  readonly reactions: readonly string[];
  readonly pinned: boolean;
  readonly deletedForMe: boolean;
}

/** A change of messages: makes the state of each target after it from the one before. */
interface DeviceChange {
  readonly targets: readonly number[];
  apply(before: Snapshot): Snapshot;
}

/** A message as a device shows it at last. */
export interface ShownMessage {
  readonly sequence: number;
  readonly text: string;
  /** As `shownState` of the model. */
  readonly state: string;
}

const NOBODY = { joined: [], left: [] };

/** Decodes an entry. */
export function readEntry(entry: Entry): DeviceEntry {
  const { sequence, senderId: sender, clientMessageId: key, messageId, content, state } = entry;
  const common = { sequence: Number(sequence), sender, key, messageId };
  const other = { ...common, snapshot: undefined };
  const kind = content?.kind;
  if (kind === undefined || kind.case === "text") {
    const text = kind?.value.text ?? RECALLED;
    const snapshot = snapshotOf(text, state);
    return { ...common, text, snapshot, change: undefined, ...NOBODY };
  }
  if (kind.case !== "tip") {
    const { text, ...change } = changeOf(kind, { sender, sequence: Number(sequence) });
    return { ...other, text, change, ...NOBODY };
  }
  const { value } = kind;
  const tip = value.kind;
  switch (tip.case) {
    case "groupCreated":
    case "membersAdded": {
      const { userIds } = tip.value;
      const text = tipText(tip.case, userIds);
      return { ...other, text, change: undefined, joined: userIds, left: [] };
    }
    case "memberRemoved": {
      const { userId } = tip.value;
      const text = tipText(tip.case, [userId]);
      return { ...other, text, change: undefined, joined: [], left: [userId] };
    }
    case undefined:
      throw new Error("a tip without a kind");
  }
}

/** The entry of a message that the device itself has sent, without its position. */
export function sentEntry(sender: string, { key, text }: { key: string; text: string }) {
  return { sender, key, text, snapshot: snapshotOf(text, undefined), change: undefined, ...NOBODY };
}

function snapshotOf(text: string, state: MessageState | undefined): Snapshot {
  return {
    text,
    changed: Number(state?.changedSequence ?? 0),
    edited: (state?.editedAtMs ?? 0n) > 0n,
    recalledBy: state?.recalled?.userId,
    reactions: (state?.reactions ?? []).map(({ emoji, count }) => `${emoji}${count}`),
    pinned: (state?.pinnedSequence ?? 0n) > 0n,
    deletedForMe: state?.deletedForMe ?? false,
  };
}

function changeOf(
  kind: Content["kind"],
  { sender, sequence: changed }: { sender: string; sequence: number },
): DeviceChange & { text: string } {
  switch (kind.case) {
    case "edit": {
      const target = Number(kind.value.targetSequence);
      const { change } = kind.value;
      const text = change.case === "text" ? change.value.text : undefined;
      return {
        targets: [target],
        text: changeText.edit(target, text),
        apply: (before) => ({ ...before, changed, edited: true, text: text ?? before.text }),
      };
    }
    case "recall": {
      const targets = kind.value.targetSequences.map(Number);
      const gone = { text: RECALLED, edited: false, reactions: [], pinned: false };
      return {
        targets,
        text: changeText.recall(targets),
        apply: (before) => ({ ...before, ...gone, changed, recalledBy: sender }),
      };
    }
    case "reactions": {
      const { targetSequence, counts, deltas } = kind.value;
      const all = counts.map(({ emoji, count }) => [emoji, Number(count)] as const);
      const changes = deltas.map(
        ({ userId, emoji, added }) => `${added ? "+" : "-"}${userId}${emoji}`,
      );
      return {
        targets: [Number(targetSequence)],
        text: changeText.reactions(Number(targetSequence), all, changes),
        apply: (before) => ({
          ...before,
          changed,
          reactions: all.map(([emoji, count]) => `${emoji}${count}`),
        }),
      };
    }
    case "pin":
    case "unpin": {
      const target = Number(kind.value.targetSequence);
      const pinned = kind.case === "pin";
      return {
        targets: [target],
        text: changeText[kind.case](target),
        apply: (before) => ({ ...before, changed, pinned }),
      };
    }
    default:
      throw new Error(`an entry of the kind ${kind.case}`);
  }
}

/** The log of one conversation on a device, as far as the device has it. */
export class DeviceLog {
  readonly #user: string;
  readonly #entries = new Map<number, DeviceEntry>();
  /** The device has all entries that the user may see up to here; 0 for none. */
  end = 0;
  /** The device has skipped entries, and reads messages instead. */
  jumped = false;

  constructor(user: string) {
    this.#user = user;
  }

  /**
   * Adds an entry, or what the server says about one now. Returns whether it is new. Throws when the log
   * has another entry at its sequence.
   */
  add(entry: DeviceEntry): boolean {
    const { sequence, joined, snapshot } = entry;
    const known = this.#entries.get(sequence);
    if (known !== undefined) {
      for (const field of ["sender", "key", "messageId", "joined", "left"] as const)
        assert.deepEqual(entry[field], known[field], "an entry that was delivered twice");
      const isNewer = snapshot !== undefined && snapshot.changed >= known.snapshot!.changed;
      if (isNewer) this.#entries.set(sequence, entry);
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

  /** The device has all messages up to this sequence, but not all entries. */
  jumpTo(sequence: number): void {
    this.jumped = true;
    this.startAt(sequence + 1);
  }

  /** Whether there are entries behind a gap. */
  get hasGap(): boolean {
    for (const sequence of this.#entries.keys()) if (sequence > this.end) return true;
    return false;
  }

  /** The entries from first to last. */
  range(first: number, last: number): DeviceEntry[] {
    return [...this.#entries.values()]
      .filter(({ sequence }) => sequence >= first && sequence <= last)
      .sort((a, b) => a.sequence - b.sequence);
  }

  /**
   * The messages from first to last, as the device shows them: what the server said last about each, and
   * the later changes up to `last` in the order of the log.
   */
  shown(first: number, last: number): ShownMessage[] {
    const entries = this.range(first, last);
    const snapshots = new Map<number, Snapshot>();
    for (const { sequence, snapshot } of entries)
      if (snapshot !== undefined) snapshots.set(sequence, snapshot);
    for (const { sequence, change } of entries)
      for (const target of change?.targets ?? []) {
        const before = snapshots.get(target);
        if (before !== undefined && sequence > before.changed)
          snapshots.set(target, change!.apply(before));
      }
    return [...snapshots].map(([sequence, snapshot]) => ({
      sequence,
      text: snapshot.text,
      state: stateText(snapshot),
    }));
  }

  #extend(): void {
    while (this.#entries.has(this.end + 1)) this.end++;
  }
}

function stateText({ edited, recalledBy, reactions, pinned }: Snapshot): string {
  if (recalledBy !== undefined) return `recalled by ${recalledBy}`;
  const parts = [edited ? "edited" : "", reactions.join(""), pinned ? "pinned" : ""];
  return parts.filter((part) => part !== "").join(" ");
}
