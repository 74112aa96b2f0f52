import { create, equals, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentSchema } from "../../gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema } from "../../gen/lucky/message/v1/entry_pb.js";
import {
  type Accepted,
  type SendRequest,
  SendRequestSchema,
} from "../../gen/lucky/message/v1/message_pb.js";
import type { TraceOptions } from "../trace-options.ts";

/** The receiver of a message: a user, or a conversation (a group id is one). */
export type Target = { readonly userId: string } | { readonly conversationId: string };

/** The content of a message: plain text, or any kind of content. */
export type SendContent = string | MessageInitShape<typeof ContentSchema>;

/** Options of a send. A retry has the same trace. A send of an earlier run, from the store, has none. */
export interface SendOptions extends TraceOptions {
  /** Replaces the id that the client would generate; a retry uses the same id again. */
  readonly clientMessageId?: string;
  /** Sequence of the message that this one replies to. */
  readonly replyTo?: bigint;
  /** Ids of the users whom the text mentions, at most 50, each a member. */
  readonly mentions?: readonly string[];
  /** Whether the text mentions all members. In a group only admins and the owner may do so. */
  readonly mentionAll?: boolean;
  /** Data of the application, at most 16 pairs: keys of 1 to 64 characters, values of at most 256. */
  readonly extra?: Readonly<Record<string, string>>;
  /** Whether the message should arrive without sound and notification. */
  readonly silent?: boolean;
}

/** A pair of extra, its key and its value. */
const FIELDS_PER_PAIR = 3;

/** Attempts of a send, the first included. Then it fails; after a lost session its outcome is unknown. */
export const MAX_SEND_ATTEMPTS = 10;

/** Creates the SendRequest of a message. */
export function sendRequest(
  target: Target,
  content: SendContent,
  options: SendOptions & { readonly clientMessageId: string },
): SendRequest {
  const { clientMessageId, replyTo, mentions = [], mentionAll, extra, silent } = options;
  return create(SendRequestSchema, {
    clientMessageId,
    replyToSequence: replyTo ?? 0n,
    mentionedUserIds: [...mentions],
    mentionAll: mentionAll ?? false,
    extra: { ...extra },
    silent: silent ?? false,
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
  const { clientMessageId, content, replyToSequence, mentionedUserIds, mentionAll } = request;
  const { extra, silent } = request;
  return create(EntrySchema, {
    ...{ conversationId, sequence, acceptedAtMs, messageId, clientMessageId, content },
    ...{ replyToSequence, mentionedUserIds, mentionAll, extra, silent },
  });
}

/** Number of parts of composite content; 0 for other content. */
export function partsOf({ content }: SendRequest): number {
  return content?.kind.case === "composite" ? content.kind.value.parts.length : 0;
}

/** Fields that a request has for its mentions and its extra, at most. */
export function detailsOf({ mentionedUserIds, extra }: SendRequest): number {
  return mentionedUserIds.length + FIELDS_PER_PAIR * Object.keys(extra).length;
}

/** Whether the entry, by the same sender, is the result of the send. */
export function isEntryOf(entry: Entry, request: SendRequest): boolean {
  const { target, clientMessageId, content } = request;
  if (clientMessageId !== entry.clientMessageId || !content) return false;
  if (target.case === "conversationId" && target.value !== entry.conversationId) return false;
  // Another device of the user may have changed the message before its result arrived.
  if (!entry.content || entry.state) return true;
  return equals(ContentSchema, content, entry.content);
}
