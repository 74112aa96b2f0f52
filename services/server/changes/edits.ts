import { create, equals, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type EditMessageRequest,
  type EditMessageResponse,
  EditMessageResponseSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import { type Edit, EditSchema, TextSchema } from "#gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { fail, invalidField } from "#platform/errors.ts";
import { mentionedUsers, mentionsRefusal } from "../conversations/mentions.ts";
import { refusalError } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";
import { readBodies, supersedeEdits, writeBodies } from "./bodies.ts";
import { type ChangeDependencies, change, type LockedConversation } from "./change.ts";
import { writeStates } from "./message-states.ts";
import {
  mustBeMember,
  mustNotBeMuted,
  mustNotBeRecalled,
  mustSee,
  readTargets,
  readViews,
  type Target,
  type View,
} from "./targets.ts";

/** The entry that a sender wrote with a client_message_id. */
export const SELECT_KEY = `
  SELECT sequence, accepted_at_ms, body FROM im.entry
   WHERE conversation_id = $1::bigint AND sender_id = $2::bigint AND client_message_id = $3::text`;

/** The users of $2 who are members of the conversation $1. */
export const SELECT_MENTIONED = `
  SELECT m.user_id
    FROM unnest($2::bigint[]) AS i(user_id)
   CROSS JOIN LATERAL (
     SELECT * FROM im.member m
      WHERE m.conversation_id = $1::bigint AND m.user_id = i.user_id OFFSET 0) m
   WHERE m.left_sequence = 0`;

export const INSERT_REVISION = `
  INSERT INTO im.revision (conversation_id, sequence, revision, edit_sequence, at_ms, body)
  VALUES ($1, $2, $3, $4, $5, $6)`;

export const DELETE_MENTIONS = `
  DELETE FROM im.mention WHERE conversation_id = $1::bigint AND sequence = ANY ($2::bigint[])`;

export const INSERT_MENTIONS = `
  INSERT INTO im.mention (conversation_id, user_id, sequence, sender_id)
  SELECT $1::bigint, i.user_id, $2::bigint, $3::bigint FROM unnest($4::bigint[]) AS i(user_id)`;

/**
 * Edits a message of the caller. A retry returns the first response. Throws CONVERSATION_NOT_FOUND,
 * MESSAGE_NOT_FOUND, MUTED, MESSAGE_RECALLED, CHANGE_DENIED, CHANGE_WINDOW_PASSED, CHANGE_LIMIT_REACHED,
 * INVALID_ARGUMENT, MENTION_INVALID, MENTION_ALL_DENIED, KEY_REUSED, UNAVAILABLE.
 */
export function editMessage(
  d: ChangeDependencies,
  request: EditMessageRequest,
  userId: string,
): Promise<EditMessageResponse> {
  const { conversationId, clientMessageId } = request;
  const sequence = Number(request.sequence);
  const edit = editOf(request);
  return change(d, conversationId, async (client, conversation) => {
    const [seen] = await readViews(client, conversationId, [{ userId, sequence }]);
    const view = mustBeMember(seen);
    const repeated = await readRepeated(client, { conversationId, userId, clientMessageId }, edit);
    if (repeated !== undefined) return { answer: repeated };
    const nowMs = d.clock.now();
    mustNotBeMuted(view, nowMs);
    const target = mustSee(
      view,
      (await readTargets(client, conversationId, [sequence])).get(sequence),
    );
    mustNotBeRecalled(target);
    const bodies = await readBodies(client, conversationId, [sequence]);
    const oldBody = bodies.get(sequence)!;
    const entry = editedEntry(oldBody, edit, { userId, target });
    mustBeWithinLimits(d, target, nowMs);
    await mustMayMention(client, conversation, view, edit);

    const written = await d.writeEntry(client, {
      conversationId,
      causedBy: userId,
      content: { kind: { case: "edit", value: edit } },
      clientMessageId,
    });
    const { edits, state } = target;
    await supersedeEdits(client, conversationId, [target]);
    const writtenAtMs = edits === 0 ? target.acceptedAtMs : Number(state.editedAtMs);
    await client.query(INSERT_REVISION, [
      ...[conversationId, sequence, edits, written.sequence],
      ...[writtenAtMs, oldBody],
    ]);
    await writeBodies(client, conversationId, [[sequence, toBinary(EntrySchema, entry)]]);
    await replaceMentions(client, { conversationId, sequence }, entry);
    state.changedSequence = BigInt(written.sequence);
    state.editedAtMs = BigInt(written.acceptedAtMs);
    await writeStates(client, conversationId, [{ sequence, edits: edits + 1, state }]);
    return { answer: answerOf(written), written: [written] };
  });
}

/** The content of the edit's entry, without unknown fields of the request. */
function editOf({ sequence, change, mentionedUserIds, mentionAll }: EditMessageRequest): Edit {
  const isText = change.case === "text";
  return create(EditSchema, {
    targetSequence: sequence,
    change: isText
      ? { case: "text", value: create(TextSchema, { text: change.value.text }) }
      : { case: "caption", value: change.value ?? "" },
    mentionedUserIds,
    mentionAll,
  });
}

function answerOf({ sequence, acceptedAtMs }: { sequence: number; acceptedAtMs: number }) {
  return create(EditMessageResponseSchema, {
    changedSequence: BigInt(sequence),
    editedAtMs: BigInt(acceptedAtMs),
  });
}

/**
 * The response to an earlier call with this client_message_id; undefined when there was none. Throws
 * KEY_REUSED when the key belongs to a message or to a different edit. A superseded edit has lost its text, so
 * only its target is compared.
 */
async function readRepeated(
  client: PoolClient,
  key: {
    readonly conversationId: string;
    readonly userId: string;
    readonly clientMessageId: string;
  },
  edit: Edit,
): Promise<EditMessageResponse | undefined> {
  const { rows } = await client.query<{ sequence: string; accepted_at_ms: string; body: Buffer }>(
    SELECT_KEY,
    [key.conversationId, key.userId, key.clientMessageId],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const kind = fromBinary(EntrySchema, row.body).content?.kind;
  const isSame =
    kind?.case === "edit" &&
    (kind.value.change.case === undefined
      ? kind.value.targetSequence === edit.targetSequence
      : equals(EditSchema, kind.value, edit));
  if (!isSame)
    throw fail(
      ErrorReason.KEY_REUSED,
      "the client_message_id was used in this conversation for something else",
    );
  return answerOf({ sequence: Number(row.sequence), acceptedAtMs: Number(row.accepted_at_ms) });
}

/** The entry of the message after the edit. Throws CHANGE_DENIED, INVALID_ARGUMENT. */
function editedEntry(
  body: Uint8Array,
  { change, mentionedUserIds, mentionAll }: Edit,
  { userId, target }: { readonly userId: string; readonly target: Target },
): Entry {
  if (target.senderId !== userId)
    throw fail(ErrorReason.CHANGE_DENIED, "only the author edits a message");
  const entry = fromBinary(EntrySchema, body);
  // It names the author of the original: the words must stay that author's.
  if (entry.origin !== undefined)
    throw fail(ErrorReason.CHANGE_DENIED, "a forwarded message cannot be edited");
  const kind = entry.content?.kind;
  switch (kind?.case) {
    case "text":
      if (change.case !== "text") throw invalidField("caption", "a text has no caption");
      kind.value = change.value;
      break;
    case "image":
    case "video":
    case "audio":
    case "file":
      if (change.case !== "caption") throw invalidField("text", "only the caption can be edited");
      kind.value.caption = change.value;
      break;
    default:
      throw fail(ErrorReason.CHANGE_DENIED, "a message of this kind cannot be edited");
  }
  entry.mentionedUserIds = mentionedUserIds;
  entry.mentionAll = mentionAll;
  return entry;
}

/** Throws CHANGE_WINDOW_PASSED, CHANGE_LIMIT_REACHED. */
function mustBeWithinLimits(
  { config }: ChangeDependencies,
  { acceptedAtMs, edits }: Target,
  nowMs: number,
): void {
  if (config.editWindowMs === 0 || nowMs > acceptedAtMs + config.editWindowMs)
    throw fail(ErrorReason.CHANGE_WINDOW_PASSED, "the message is too old to be edited");
  if (edits >= config.maxEdits)
    throw fail(
      ErrorReason.CHANGE_LIMIT_REACHED,
      `a message is edited at most ${config.maxEdits} times`,
    );
}

/** Throws MENTION_INVALID, MENTION_ALL_DENIED. */
async function mustMayMention(
  client: PoolClient,
  { conversationId, kind }: LockedConversation,
  { userId: authorId, role, mutedUntilMs }: View,
  { mentionedUserIds, mentionAll }: Edit,
): Promise<void> {
  if (mentionedUserIds.length === 0 && !mentionAll) return;
  const { rows } = await client.query<{ user_id: string }>(SELECT_MENTIONED, [
    conversationId,
    bigints(mentionedUserIds),
  ]);
  const users = rows.map(({ user_id }) => user_id);
  const memberships = new Map(users.map((userId) => [userId, { role: 0, mutedUntilMs: 0 }]));
  memberships.set(authorId, { role, mutedUntilMs });
  const mentions = { userIds: mentionedUserIds, all: mentionAll };
  const refused = mentionsRefusal({ kind, users, memberships }, { mentions, authorId });
  if (refused !== undefined) throw refusalError(refused);
}

/** Replaces the stored mentions of a message with those of its edited entry. */
async function replaceMentions(
  client: PoolClient,
  { conversationId, sequence }: { readonly conversationId: string; readonly sequence: number },
  { senderId, mentionedUserIds, mentionAll }: Entry,
): Promise<void> {
  await client.query(DELETE_MENTIONS, [conversationId, bigints([sequence])]);
  const mentions = { userIds: mentionedUserIds, all: mentionAll };
  const userIds = mentionedUsers({ mentions, authorId: senderId });
  if (userIds.length === 0) return;
  await client.query(INSERT_MENTIONS, [conversationId, sequence, senderId, bigints(userIds)]);
}
