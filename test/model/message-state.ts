/** State of a message after its changes. */
export interface MessageState {
  text: string;
  edits: number;
  mentions: readonly string[];
  recalledBy: string | undefined;
  /** By emoji, the oldest first: its users. */
  reactions: Map<string, Set<string>>;
  /** Sequence of the entry that pinned it; 0: not pinned. */
  pinned: number;
  /** Sequence of the last change; 0: none. */
  changed: number;
  /** Sequences of its edits, and the text after each. */
  readonly versions: { sequence: number; text: string }[];
}

/** An entry of a log. */
export interface ModelEntry {
  readonly sequence: number;
  readonly sender: string;
  /** Empty for an entry of the server. */
  readonly key: string;
  /** The text that was sent, the kind of a tip with its users, or a change as `changeText` describes it. */
  readonly text: string;
  /** State of a message; undefined for other entries. */
  readonly state: MessageState | undefined;
  /** Users who deleted it for themselves. */
  readonly deletedFor: Set<string>;
}

export const RECALLED = "(recalled)";

export function newState(text: string, mentions: readonly string[]): MessageState {
  return {
    text,
    edits: 0,
    mentions,
    recalledBy: undefined,
    reactions: new Map(),
    pinned: 0,
    changed: 0,
    versions: [{ sequence: 0, text }],
  };
}

export const isMessage = ({ state }: Pick<ModelEntry, "state">) => state !== undefined;

/** The text of an entry now, for a member or for a user who left at a sequence. */
export function shownText({ text, state }: ModelEntry, left = 0): string {
  if (state === undefined) return text;
  if (state.recalledBy !== undefined) return RECALLED;
  const end = left > 0 ? left : Number.POSITIVE_INFINITY;
  return state.versions.findLast(({ sequence }) => sequence <= end)!.text;
}

/** Everything that is shown of a message beside its text; empty for a message that was not changed. */
export function shownState(state: MessageState): string {
  if (state.recalledBy !== undefined) return `recalled by ${state.recalledBy}`;
  const reactions = [...state.reactions].map(([emoji, users]) => `${emoji}${users.size}`);
  const parts = [state.edits > 0 ? "edited" : "", reactions.join(""), state.pinned ? "pinned" : ""];
  return parts.filter((part) => part !== "").join(" ");
}

/** Number of unread messages and mentions among entries; recalls after a user has left do not matter. */
export function unreadOf(
  entries: readonly ModelEntry[],
  user: string,
  left: number,
): { unread: number; mentions: number } {
  const isRecalled = ({ recalledBy, changed }: MessageState) =>
    recalledBy !== undefined && (left === 0 || changed <= left);
  const counted = entries.filter(
    ({ sender, state, deletedFor }) =>
      state !== undefined && sender !== user && !isRecalled(state) && !deletedFor.has(user),
  );
  const mentions = counted.filter(({ state }) => state!.mentions.includes(user));
  return { unread: counted.length, mentions: mentions.length };
}
