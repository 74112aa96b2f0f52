import { ContentSchema } from "../gen/lucky/message/v1/content_pb.js";
import type { Entry } from "../gen/lucky/message/v1/entry_pb.js";

const KINDS = ContentSchema.oneofs[0]!.fields;

/** Kinds of content that this version knows: their field numbers in Content. */
export const CONTENT_KINDS: readonly number[] = KINDS.map(({ number }) => number);

/**
 * How a client shows an entry. "content": by its content, whose kind the client knows. "text": by the
 * sender's text for clients that do not know the kind; when it is empty, by a text of the client's own.
 * "nothing": the entry is not a line of its own in the conversation.
 */
export type Display =
  | { readonly kind: "content" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "nothing" };

/** How a client that can show `contentKinds` (field numbers in Content) shows the entry. */
export function displayOf(
  { content, notShown }: Pick<Entry, "content" | "notShown">,
  contentKinds: readonly number[] = CONTENT_KINDS,
): Display {
  const kind = KINDS.find(({ localName }) => localName === content?.kind.case);
  if (kind && contentKinds.includes(kind.number)) return { kind: "content" };
  return notShown ? { kind: "nothing" } : { kind: "text", text: content?.fallbackText ?? "" };
}
