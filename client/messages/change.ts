import type { ReactionCount, Reactions_Delta } from "../../gen/lucky/message/v1/content_pb.js";
import type { Entry } from "../../gen/lucky/message/v1/entry_pb.js";

/** The fields that all changes have. */
interface ChangeEntry {
  readonly conversationId: string;
  /** Sequence of the entry that holds the change. */
  readonly sequence: bigint;
  /** When the server accepted it, milliseconds since the Unix epoch. */
  readonly atMs: bigint;
  /** The user who made the change; for reactions of several users the first of them. */
  readonly by: string;
  /** Sequences of the changed messages: one, or up to 100 for a recall. */
  readonly targetSequences: readonly bigint[];
  /** The entry itself, for `applyChange`. */
  readonly entry: Entry;
}

/** A change of messages that were sent earlier. */
export type Change = ChangeEntry &
  (
    | {
        readonly kind: "edit";
        /** The new text of a text message; absent for the others. */
        readonly text?: string;
        /** The new caption of a picture, a video, a recording or a file; absent for the others. */
        readonly caption?: string;
        /** The users whom the text mentions now. */
        readonly mentions: readonly string[];
        readonly mentionAll: boolean;
        /** A later edit or a recall has replaced it: it has no text and changes nothing. */
        readonly superseded: boolean;
      }
    | {
        readonly kind: "recall";
        /** Empty for none. */
        readonly reason: string;
      }
    | {
        readonly kind: "reactions";
        /** All reactions after the change. */
        readonly counts: readonly ReactionCount[];
        readonly deltas: readonly Reactions_Delta[];
      }
    | { readonly kind: "pin" | "unpin" }
  );

/** The change that an entry of the log holds; undefined for messages, tips and unknown kinds. */
export function changeOf(entry: Entry): Change | undefined {
  const { conversationId, sequence, acceptedAtMs: atMs, senderId: by, content } = entry;
  const kind = content?.kind;
  const about = (...targetSequences: bigint[]) => {
    return { conversationId, sequence, atMs, by, targetSequences, entry };
  };
  switch (kind?.case) {
    case "edit": {
      const { targetSequence, change, mentionedUserIds: mentions, mentionAll } = kind.value;
      const edit = { kind: kind.case, mentions, mentionAll, superseded: change.case === undefined };
      if (change.case === "text")
        return { ...about(targetSequence), ...edit, text: change.value.text };
      if (change.case === "caption")
        return { ...about(targetSequence), ...edit, caption: change.value };
      return { ...about(targetSequence), ...edit };
    }
    case "recall":
      return {
        ...about(...kind.value.targetSequences),
        kind: kind.case,
        reason: kind.value.reason,
      };
    case "reactions": {
      const { targetSequence, counts, deltas } = kind.value;
      return { ...about(targetSequence), kind: kind.case, counts, deltas };
    }
    case "pin":
    case "unpin":
      return { ...about(kind.value.targetSequence), kind: kind.case };
    default:
      return undefined;
  }
}

/** Whether the entry is a line of the conversation: a message or a tip, but no change of an earlier one. */
export function isLine(entry: Entry): boolean {
  return !entry.notShown && changeOf(entry) === undefined;
}
