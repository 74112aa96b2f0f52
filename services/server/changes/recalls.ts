import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import {
  type RecallMessagesRequest,
  type RecallMessagesResponse,
  RecallMessagesResponseSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import { MessageStateSchema } from "#gen/lucky/message/v1/entry_pb.js";
import { fail } from "#platform/errors.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";
import { withoutSenderFields } from "../log/entries.ts";
import { isCountable } from "../log/kinds.ts";
import { readBodies, supersedeEdits, writeBodies } from "./bodies.ts";
import { type ChangeDependencies, change, type LockedConversation } from "./change.ts";
import { DELETE_MENTIONS } from "./edits.ts";
import { writeStates } from "./message-states.ts";
import {
  managesMessages,
  mustBeMember,
  mustSee,
  readTargets,
  readViews,
  type Target,
  type View,
} from "./targets.ts";

export const EMPTY_REVISIONS = `
  UPDATE im.revision SET body = ''
   WHERE conversation_id = $1::bigint AND sequence = ANY ($2::bigint[])`;

export const DELETE_REACTIONS = `
  DELETE FROM im.reaction WHERE conversation_id = $1::bigint AND sequence = ANY ($2::bigint[])`;

export const INSERT_WITHDRAWN = `
  INSERT INTO im.withdrawn (conversation_id, sequence, sender_id)
  SELECT $1::bigint, i.* FROM unnest($2::bigint[], $3::bigint[]) AS i ON CONFLICT DO NOTHING`;

/**
 * Recalls messages, all or none. Those that were recalled before are skipped. Throws
 * CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND, CHANGE_DENIED, CHANGE_WINDOW_PASSED, UNAVAILABLE.
 */
export function recallMessages(
  d: ChangeDependencies,
  { conversationId, sequences, reason }: RecallMessagesRequest,
  userId: string,
): Promise<RecallMessagesResponse> {
  const named = sequences.map(Number).sort((a, b) => a - b);
  return change(d, conversationId, async (client, conversation) => {
    const pairs = named.map((sequence) => ({ userId, sequence }));
    const views = await readViews(client, conversationId, pairs);
    mustBeMember(views[0]);
    const found = await readTargets(client, conversationId, named);
    const nowMs = d.clock.now();
    const targets = named
      .map((sequence, at) => ({
        view: views[at]!,
        target: mustSee(views[at]!, found.get(sequence)),
      }))
      .filter(({ target }) => target.state.recalled === undefined)
      .map(({ view, target }) => mustMayRecall({ d, conversation, view, target, nowMs }));
    if (targets.length === 0) return { answer: create(RecallMessagesResponseSchema) };

    const targetSequences = targets.map(({ sequence }) => BigInt(sequence));
    const written = await d.writeEntry(client, {
      conversationId,
      causedBy: userId,
      content: { kind: { case: "recall", value: { targetSequences, reason } } },
    });
    await erase(client, conversationId, targets);
    const changedSequence = BigInt(written.sequence);
    const recalled = { userId, atMs: BigInt(written.acceptedAtMs), reason };
    const state = create(MessageStateSchema, { changedSequence, recalled });
    await writeStates(
      client,
      conversationId,
      targets.map(({ sequence, edits }) => ({ sequence, edits, state })),
    );
    const answer = create(RecallMessagesResponseSchema, { changedSequence });
    return { answer, written: [written] };
  });
}

interface Right {
  readonly d: ChangeDependencies;
  readonly conversation: LockedConversation;
  readonly view: View;
  readonly target: Target;
  readonly nowMs: number;
}

/** Throws CHANGE_DENIED, CHANGE_WINDOW_PASSED. */
function mustMayRecall({ d, conversation, view, target, nowMs }: Right): Target {
  const isAuthor = target.senderId === view.userId;
  if (managesMessages(conversation, view)) {
    const isProtected = target.senderId === conversation.ownerId && view.role !== Role.OWNER;
    if (!isProtected) return target;
  }
  if (!isAuthor)
    throw fail(ErrorReason.CHANGE_DENIED, "the caller may not recall a message of this user");
  const { recallWindowMs } = d.config;
  if (recallWindowMs === 0 || nowMs > target.acceptedAtMs + recallWindowMs)
    throw fail(ErrorReason.CHANGE_WINDOW_PASSED, "the message is too old to be recalled");
  return target;
}

/** Removes what messages said from all tables, and their reactions, mentions and unread counts. */
async function erase(
  client: PoolClient,
  conversationId: string,
  targets: readonly Target[],
): Promise<void> {
  const sequences = targets.map(({ sequence }) => sequence);
  const bodies = await readBodies(client, conversationId, sequences);
  await writeBodies(
    client,
    conversationId,
    [...bodies].map(([sequence, body]) => [sequence, withoutSenderFields(body)]),
  );
  await supersedeEdits(client, conversationId, targets);
  const values = [conversationId, bigints(sequences)];
  await client.query(EMPTY_REVISIONS, values);
  await client.query(DELETE_REACTIONS, values);
  await client.query(DELETE_MENTIONS, values);
  const counted = targets.filter(({ kind }) => isCountable(kind));
  await client.query(INSERT_WITHDRAWN, [
    conversationId,
    bigints(counted.map(({ sequence }) => sequence)),
    bigints(counted.map(({ senderId }) => senderId)),
  ]);
}
