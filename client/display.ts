import { ContentSchema } from "../gen/lucky/message/v1/content_pb.js";
import type { Entry, Recalled } from "../gen/lucky/message/v1/entry_pb.js";

const KINDS = ContentSchema.oneofs[0]!.fields;

/** Kinds of content that this version knows: their field numbers in Content. */
export const CONTENT_KINDS: readonly number[] = KINDS.map(({ number }) => number);

/** Field number of the first kind that is a change of earlier messages. */
const FIRST_CHANGE = 20;

/**
 * How a client shows an entry. "content": by its content, whose kind the client knows. "text": by the
 * sender's text for clients that do not know the kind; when it is empty, by a text of the client's own.
 * "recalled": by a text of the client's own, that says who recalled the message. "nothing": the entry is not
 * a line of its own in the conversation, or was deleted for the user.
 */
export type Display =
  | { readonly kind: "content" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "recalled"; readonly recalled: Recalled }
  | { readonly kind: "nothing" };

/** How a client that can show `contentKinds` (field numbers in Content) shows the entry. */
export function displayOf(
  { content, notShown, state }: Pick<Entry, "content" | "notShown"> & Partial<Pick<Entry, "state">>,
  contentKinds: readonly number[] = CONTENT_KINDS,
): Display {
  if (state?.deletedForMe) return { kind: "nothing" };
  if (state?.recalled) return { kind: "recalled", recalled: state.recalled };
  // The entry that tells of its recall follows.
  if (!content) return { kind: "nothing" };
  const kind = KINDS.find(({ localName }) => localName === content.kind.case);
  if (kind && kind.number >= FIRST_CHANGE) return { kind: "nothing" };
  if (kind && contentKinds.includes(kind.number)) return { kind: "content" };
  return notShown ? { kind: "nothing" } : { kind: "text", text: content.fallbackText };
}
