import { create } from "@bufbuild/protobuf";
import {
  type Content,
  type Edit,
  type Reactions_Delta,
  TextSchema,
} from "../../gen/lucky/message/v1/content_pb.js";
import {
  type Entry,
  EntrySchema,
  type MessageState,
  MessageStateSchema,
  RecalledSchema,
} from "../../gen/lucky/message/v1/entry_pb.js";
import { changeOf } from "./change.ts";

/** Sequence of the last change that the message contains; 0: none. */
export function changedSequenceOf({ state }: Entry): bigint {
  return state?.changedSequence ?? 0n;
}

/**
 * Returns the message after a change, as the user `userId` sees it. Returns the same object when the change
 * is not newer than what the message contains, or concerns other messages. Changes must be applied in the
 * order of their sequences; any other order needs `ConversationMessages`.
 *
 * A superseded edit only counts as seen: the later one has the text. A message without content, which was
 * deleted for the user or will be recalled by a later entry, stays without.
 */
export function applyChange(message: Entry, change: Entry, userId: string): Entry {
  const targets = changeOf(change)?.targetSequences ?? [];
  if (!targets.includes(message.sequence)) return message;
  if (change.sequence <= changedSequenceOf(message)) return message;
  const state: MessageState = {
    ...(message.state ?? create(MessageStateSchema)),
    changedSequence: change.sequence,
  };
  const changed: Entry = { ...message, state };
  if (state.recalled) return changed;
  const kind = change.content?.kind;
  switch (kind?.case) {
    case "edit":
      return kind.value.change.case === undefined ? changed : edited(changed, kind.value, change);
    case "recall":
      return recalled(changed, kind.value.reason, change);
    case "reactions":
      state.reactions = kind.value.counts;
      state.myReactions = reactionsOf(userId, state.myReactions, kind.value.deltas);
      return changed;
    case "pin":
      state.pinnedSequence = change.sequence;
      return changed;
    case "unpin":
      state.pinnedSequence = 0n;
      return changed;
    default:
      return changed;
  }
}

/**
 * The newer of a held message and a read one: of the answer to a call, or of a delivery. The read one
 * replaces the held one when it contains the same changes or later ones. A message that was deleted for the
 * user in one of them stays deleted.
 */
export function newerOf(held: Entry, read: Entry): Entry {
  const isNewer = changedSequenceOf(read) >= changedSequenceOf(held);
  const [newer, older] = isNewer ? [read, held] : [held, read];
  return older.state?.deletedForMe ? deletedForMe(newer) : newer;
}

/** The message after the user deleted it for themselves. */
export function deletedForMe(message: Entry): Entry {
  if (message.state?.deletedForMe) return message;
  const state = { ...(message.state ?? create(MessageStateSchema)), deletedForMe: true };
  return withoutContent(message, state);
}

function edited(message: Entry, edit: Edit, { acceptedAtMs }: Entry): Entry {
  message.state!.editedAtMs = acceptedAtMs;
  if (!message.content) return message;
  const { mentionedUserIds, mentionAll } = edit;
  return { ...message, content: withText(message.content, edit), mentionedUserIds, mentionAll };
}

function withText(content: Content, { change }: Edit): Content {
  const { kind } = content;
  switch (kind.case) {
    case "text":
      if (change.case !== "text") return content;
      return {
        ...content,
        kind: { case: kind.case, value: create(TextSchema, { text: change.value.text }) },
      };
    case "image":
    case "video":
    case "audio":
    case "file":
      if (change.case !== "caption") return content;
      return {
        ...content,
        kind: { case: kind.case, value: { ...kind.value, caption: change.value } },
      } as Content;
    default:
      return content;
  }
}

function recalled(message: Entry, reason: string, { sequence, senderId, acceptedAtMs }: Entry) {
  const state = create(MessageStateSchema, {
    changedSequence: sequence,
    recalled: create(RecalledSchema, { userId: senderId, atMs: acceptedAtMs, reason }),
    deletedForMe: message.state?.deletedForMe ?? false,
  });
  return withoutContent(message, state);
}

/** The message with nothing that its sender wrote, except client_message_id. */
function withoutContent(message: Entry, state: MessageState): Entry {
  const { conversationId, sequence, acceptedAtMs, messageId, senderId, clientMessageId } = message;
  const place = { conversationId, sequence, acceptedAtMs, messageId, senderId, clientMessageId };
  return create(EntrySchema, { ...place, state });
}

/** The user's own reactions after the deltas, in the order in which the server returns them. */
function reactionsOf(
  userId: string,
  before: readonly string[],
  deltas: readonly Reactions_Delta[],
): string[] {
  const own = deltas.filter((delta) => delta.userId === userId);
  const emojis = new Set(before);
  for (const { emoji, added } of own) {
    if (added) emojis.add(emoji);
    else emojis.delete(emoji);
  }
  return [...emojis].sort(byCodePoints);
}

/** The order of texts in UTF-8, which the order of JavaScript's UTF-16 units is not. */
function byCodePoints(one: string, other: string): number {
  const [a, b] = [one, other].map((text) => Array.from(text, (char) => char.codePointAt(0)!));
  const at = a!.findIndex((code, index) => code !== b![index]);
  return at < 0 ? a!.length - b!.length : a![at]! - (b![at] ?? -1);
}
