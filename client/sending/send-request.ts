import { create, equals, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentSchema } from "../../gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import {
  type Accepted,
  type SendRequest,
  SendRequestSchema,
} from "../../gen/lucky/message/v1/message_pb.js";

/** The receiver of a message: a user, or a conversation (a group id is one). */
export type Target = { readonly userId: string } | { readonly conversationId: string };

/** The content of a message: plain text, or any kind of content. */
export type SendContent = string | MessageInitShape<typeof ContentSchema>;

/** Attempts of a send, the first included. Then it fails; after a lost session its outcome is unknown. */
export const MAX_SEND_ATTEMPTS = 10;

/** Creates the SendRequest of a message. */
export function sendRequest(
  target: Target,
  content: SendContent,
  clientMessageId: string,
): SendRequest {
  return create(SendRequestSchema, {
    clientMessageId,
    target:
      "userId" in target
        ? { case: "userId", value: target.userId }
        : { case: "conversationId", value: target.conversationId },
    content:
      typeof content === "string" ? { kind: { case: "text", value: { text: content } } } : content,
  });
}

/** The entry of an accepted send, without its sender id. */
export function entryOf(request: SendRequest, accepted: Accepted): Entry {
  const { conversationId, sequence, acceptedAtMs, messageId } = accepted;
  const { clientMessageId, content } = request;
  const position = { conversationId, sequence, acceptedAtMs, messageId };
  return create(EntrySchema, { ...position, clientMessageId, content });
}

/** Number of parts of composite content; 0 for other content. */
export function partsOf({ content }: SendRequest): number {
  return content?.kind.case === "composite" ? content.kind.value.parts.length : 0;
}

/** Whether the entry, by the same sender, is the result of the send. */
export function isEntryOf(entry: Entry, request: SendRequest): boolean {
  const { target, clientMessageId, content } = request;
  if (clientMessageId !== entry.clientMessageId || !content || !entry.content) return false;
  if (target.case === "conversationId" && target.value !== entry.conversationId) return false;
  return equals(ContentSchema, content, entry.content);
}
