import { create, fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import {
  type GetMessagesRequest,
  type GetMessagesResponse,
  GetMessagesResponseSchema,
  type ListChangedMessagesRequest,
  type ListChangedMessagesResponse,
  ListChangedMessagesResponseSchema,
  type ListPinsRequest,
  type ListPinsResponse,
  ListPinsResponseSchema,
  type ListReactionsRequest,
  type ListReactionsResponse,
  ListReactionsResponseSchema,
  type ListRevisionsRequest,
  type ListRevisionsResponse,
  ListRevisionsResponseSchema,
  ReactionSchema,
  RevisionSchema,
} from "#gen/lucky/message/v1/history_pb.js";
import { fail, invalidField } from "#platform/errors.ts";
import { parseId } from "#platform/ids.ts";
import {
  decodePosition,
  encodePosition,
  idOfPageToken,
  pageOf,
  pageTokenOf,
  pageTokenRefused,
} from "#platform/rpc/pages.ts";
import { conversationNotFound } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import { entryOf, PAGE_BYTES } from "../log/entries.ts";
import type { Logs } from "../log/logs.ts";
import {
  type ChangedRow,
  type PageRow,
  type PinRow,
  type RevisionRow,
  selectChangedMessages,
  selectMessagesAt,
  selectPins,
  selectReactions,
  selectReactionsOf,
  selectRevisions,
  selectTarget,
  type TargetRow,
} from "./message-rows.ts";

const DEFAULT_CHANGED = 50;
/** Changed messages that one call reads in addition to the size of its page. */
const SCAN_CHANGED = 400;
const DEFAULT_REACTIONS = 100;
const DEFAULT_REVISIONS = 20;
const DEFAULT_PINS = 50;
/** Greatest number of a version. */
const MAX_REVISION = 32_767n;
/** Greater than each sequence. */
const MAX_SEQUENCE = 2n ** 63n - 1n;

/** A call of a user. */
interface Call<Request> {
  readonly userId: string;
  readonly request: Request;
}

/** Reads messages by their sequences. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
export async function getMessages(
  logs: Logs,
  { userId, request }: Call<GetMessagesRequest>,
): Promise<GetMessagesResponse> {
  const { conversationId, sequences } = request;
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<PageRow & { found: number }>(selectMessagesAt, [
      conversationId,
      userId,
      bigints(sequences),
      PAGE_BYTES,
    ]),
  );
  const [first] = rows;
  if (first === undefined) throw conversationNotFound();
  const messages = rows.filter((row) => row.sequence !== null).map(entryOf);
  const cut = messages.length < first.found;
  return create(GetMessagesResponseSchema, { messages, cut, epoch: BigInt(first.epoch) });
}

/**
 * Reads a page of the messages of a range that changed after a sequence. Throws CONVERSATION_NOT_FOUND,
 * INVALID_ARGUMENT, UNAVAILABLE.
 */
export async function listChangedMessages(
  logs: Logs,
  { userId, request }: Call<ListChangedMessagesRequest>,
): Promise<ListChangedMessagesResponse> {
  const { conversationId, afterSequence, fromSequence, toSequence, pageToken } = request;
  const [changed, message] =
    pageToken === "" ? [afterSequence, MAX_SEQUENCE] : positionsOf(pageToken);
  const size = request.pageSize || DEFAULT_CHANGED;
  const limit = size + SCAN_CHANGED;
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<ChangedRow>(selectChangedMessages, [
      conversationId,
      userId,
      String(changed),
      String(message),
      String(fromSequence),
      String(toSequence),
      limit,
      PAGE_BYTES,
      size,
    ]),
  );
  const [first] = rows;
  if (first === undefined) throw conversationNotFound();
  const found = rows.filter((row) => row.sequence !== null);
  const last = found.at(-1);
  let next = "";
  if (found.length < first.found) next = `${last!.changed_sequence}.${last!.sequence}`;
  else if (first.read === limit) next = `${first.last_changed}.${first.last_message}`;
  return create(ListChangedMessagesResponseSchema, {
    messages: found.map(entryOf),
    nextPageToken: next === "" ? "" : encodePosition(next),
    lastSequence: BigInt(first.last_sequence),
    epoch: BigInt(first.epoch),
  });
}

/**
 * Reads the earlier versions of a message. Throws CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND,
 * CHANGE_DENIED, UNAVAILABLE.
 */
export async function listRevisions(
  logs: Logs,
  { userId, request }: Call<ListRevisionsRequest>,
): Promise<ListRevisionsResponse> {
  const { conversationId, sequence } = request;
  const target = await readTarget(logs, { userId, request });
  const isAdmin = target.role === Role.OWNER || target.role === Role.ADMIN;
  const isManager = target.left_sequence === "0" && isAdmin;
  if (target.sender_id !== userId && !isManager)
    throw fail(ErrorReason.CHANGE_DENIED, "only the author and admins see earlier versions");
  if (target.recalled) return create(ListRevisionsResponseSchema);
  // Versions begin at 0, and ids in page tokens at 1.
  const from = idOfPageToken(request.pageToken) ?? 0n;
  if (from > MAX_REVISION) throw pageTokenRefused();
  const size = request.pageSize || DEFAULT_REVISIONS;
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<RevisionRow>(selectRevisions, [
      conversationId,
      String(sequence),
      target.last_sequence,
      String(from - 1n),
      size,
      PAGE_BYTES,
    ]),
  );
  const next = BigInt((rows.at(-1)?.revision ?? 0) + 1);
  const isLast = rows.length === 0 || next >= BigInt(target.edits);
  return create(ListRevisionsResponseSchema, {
    revisions: rows.map(({ at_ms, body }) =>
      create(RevisionSchema, {
        atMs: BigInt(at_ms),
        content: fromBinary(EntrySchema, body).content,
      }),
    ),
    nextPageToken: isLast ? "" : pageTokenOf(next),
  });
}

interface ReactionRow {
  user_id: string;
  emoji: string;
  changed_sequence: string;
}

/**
 * Reads a page of the reactions to a message. Throws CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND,
 * INVALID_ARGUMENT, UNAVAILABLE.
 */
export async function listReactions(
  logs: Logs,
  { userId, request }: Call<ListReactionsRequest>,
): Promise<ListReactionsResponse> {
  const { conversationId, sequence, emoji, pageToken } = request;
  // PostgreSQL has no text with it.
  if (emoji.includes("\0")) throw invalidField("emoji", "contains the character 0");
  const target = await readTarget(logs, { userId, request });
  const newest = BigInt(target.last_sequence);
  // A page begins after a reaction: those of its entry are ordered by user and emoji.
  const [changed, afterUser] = pageToken === "" ? [newest, 0n] : positionsOf(pageToken);
  const afterEmoji = pageToken === "" ? "" : emojiOf(pageToken);
  // A former member who makes up a token sees no later reactions.
  if (changed > newest) throw pageTokenRefused();
  const size = request.pageSize || DEFAULT_REACTIONS;
  const values = [
    conversationId,
    String(sequence),
    String(changed),
    String(afterUser),
    afterEmoji,
    size + 1,
  ];
  const rows = await logs.onConversation(conversationId, (db) =>
    emoji === ""
      ? db.run<ReactionRow>(selectReactions, values)
      : db.run<ReactionRow>(selectReactionsOf, [...values, emoji]),
  );
  const { page, nextPageToken } = pageOf(rows, size, (last) =>
    encodePosition(`${last.changed_sequence}.${last.user_id}.${last.emoji}`),
  );
  return create(ListReactionsResponseSchema, {
    reactions: page.map((row) => create(ReactionSchema, { userId: row.user_id, emoji: row.emoji })),
    nextPageToken,
  });
}

/** Reads the pinned messages of a conversation. Throws CONVERSATION_NOT_FOUND, UNAVAILABLE. */
export async function listPins(
  logs: Logs,
  { userId, request }: Call<ListPinsRequest>,
): Promise<ListPinsResponse> {
  const { conversationId } = request;
  const size = request.pageSize || DEFAULT_PINS;
  const before = idOfPageToken(request.pageToken) ?? MAX_SEQUENCE;
  const rows = await logs.onConversation(conversationId, (db) =>
    db.run<PinRow>(selectPins, [conversationId, userId, size, PAGE_BYTES, String(before)]),
  );
  const [first] = rows;
  if (first === undefined) throw conversationNotFound();
  const found = rows.filter((row) => row.sequence !== null);
  const isCut = found.length < first.found;
  return create(ListPinsResponseSchema, {
    messages: found.map(entryOf),
    nextPageToken: isCut ? pageTokenOf(BigInt(found.at(-1)!.pinned_sequence!)) : "",
  });
}

/** Reads the message of a call. Throws CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND, UNAVAILABLE. */
async function readTarget(
  logs: Logs,
  { userId, request }: Call<{ conversationId: string; sequence: bigint }>,
): Promise<TargetRow & { sender_id: string }> {
  const { conversationId, sequence } = request;
  const [row] = await logs.onConversation(conversationId, (db) =>
    db.run<TargetRow>(selectTarget, [conversationId, userId, String(sequence)]),
  );
  if (row === undefined) throw conversationNotFound();
  const { sender_id } = row;
  if (sender_id === null) throw fail(ErrorReason.MESSAGE_NOT_FOUND, "no such message");
  return { ...row, sender_id };
}

/** The two numbers at the start of a page token. Throws INVALID_ARGUMENT. */
function positionsOf(pageToken: string): [bigint, bigint] {
  const [first, second] = decodePosition(pageToken).split(".").slice(0, 2).map(parseId);
  if (first === undefined || second === undefined) throw pageTokenRefused();
  return [first, second];
}

/** The emoji in the token of a page of reactions. Throws INVALID_ARGUMENT. */
function emojiOf(pageToken: string): string {
  const emoji = decodePosition(pageToken).split(".").slice(2).join(".");
  if (emoji === "" || emoji.includes("\0")) throw pageTokenRefused();
  return emoji;
}
