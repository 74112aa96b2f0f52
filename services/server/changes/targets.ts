import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Role } from "#gen/lucky/group/v1/group_pb.js";
import { ConversationKind } from "#gen/lucky/message/v1/conversation_pb.js";
import { type MessageState, MessageStateSchema } from "#gen/lucky/message/v1/entry_pb.js";
import { fail } from "#platform/errors.ts";
import { conversationNotFound } from "../conversations/refusal.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";
import { isMessage } from "../log/kinds.ts";
import type { LockedConversation } from "./change.ts";

/** A message to be changed. */
export interface Target {
  readonly sequence: number;
  readonly senderId: string;
  /** Value of im.entry.kind. */
  readonly kind: number;
  readonly acceptedAtMs: number;
  /** Number of its edits. */
  readonly edits: number;
  /** Without the fields of one user. */
  readonly state: MessageState;
}

/** A member, and one entry as the member sees it. */
export interface View {
  readonly userId: string;
  /** lucky.group.v1.Role */
  readonly role: number;
  readonly mutedUntilMs: number;
  readonly firstSequence: number;
  /** Whether the member deleted the entry for themselves. */
  readonly deleted: boolean;
}

/** Each user of $2 who is a member of the conversation $1, with the entry at the same place of $3. */
export const SELECT_VIEWS = `
  SELECT i.nr::int AS nr, m.user_id, m.role, m.muted_until_ms, m.first_sequence,
         (SELECT true FROM im.hidden h WHERE h.conversation_id = $1::bigint AND h.user_id = i.user_id
                                         AND h.sequence = i.sequence) AS deleted
    FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS i(user_id, sequence, nr)
   CROSS JOIN LATERAL (
     SELECT * FROM im.member m
      WHERE m.conversation_id = $1::bigint AND m.user_id = i.user_id OFFSET 0) m
   WHERE m.left_sequence = 0`;

export const SELECT_TARGETS = `
  SELECT e.sequence, e.sender_id, e.kind, e.accepted_at_ms, s.edits, s.state
    FROM unnest($2::bigint[]) AS i(sequence)
   CROSS JOIN LATERAL (
     SELECT * FROM im.entry e WHERE e.conversation_id = $1::bigint AND e.sequence = i.sequence OFFSET 0) e
    LEFT JOIN LATERAL (
     SELECT t.edits, t.state FROM im.message_state t
      WHERE t.conversation_id = $1::bigint AND t.sequence = i.sequence OFFSET 0) s ON true`;

/** Reads one view for each pair, in their order; undefined for a user who is not a member. */
export async function readViews(
  client: PoolClient,
  conversationId: string,
  pairs: readonly { readonly userId: string; readonly sequence: number }[],
): Promise<(View | undefined)[]> {
  const { rows } = await client.query<{
    nr: number;
    user_id: string;
    role: number;
    muted_until_ms: string;
    first_sequence: string;
    deleted: boolean | null;
  }>(SELECT_VIEWS, [
    conversationId,
    bigints(pairs.map(({ userId }) => userId)),
    bigints(pairs.map(({ sequence }) => sequence)),
  ]);
  const views = new Array<View | undefined>(pairs.length).fill(undefined);
  for (const row of rows)
    views[row.nr - 1] = {
      userId: row.user_id,
      role: row.role,
      mutedUntilMs: Number(row.muted_until_ms),
      firstSequence: Number(row.first_sequence),
      deleted: row.deleted ?? false,
    };
  return views;
}

/** Reads the messages at the sequences; tips, changes and missing entries are left out. */
export async function readTargets(
  client: PoolClient,
  conversationId: string,
  sequences: readonly number[],
): Promise<ReadonlyMap<number, Target>> {
  const { rows } = await client.query<{
    sequence: string;
    sender_id: string;
    kind: number;
    accepted_at_ms: string;
    edits: number | null;
    state: Buffer | null;
  }>(SELECT_TARGETS, [conversationId, bigints(sequences)]);
  const targets = rows
    .filter(({ kind }) => isMessage(kind))
    .map((row) => ({
      sequence: Number(row.sequence),
      senderId: row.sender_id,
      kind: row.kind,
      acceptedAtMs: Number(row.accepted_at_ms),
      edits: row.edits ?? 0,
      state: fromBinary(MessageStateSchema, row.state ?? new Uint8Array(0)),
    }));
  return new Map(targets.map((target) => [target.sequence, target]));
}

/** Reads one message as a member sees it. Throws CONVERSATION_NOT_FOUND, MESSAGE_NOT_FOUND. */
export async function readTarget(
  client: PoolClient,
  { conversationId }: LockedConversation,
  { userId, sequence }: { readonly userId: string; readonly sequence: number },
): Promise<{ view: View; target: Target }> {
  const [view] = await readViews(client, conversationId, [{ userId, sequence }]);
  const member = mustBeMember(view);
  const targets = await readTargets(client, conversationId, [sequence]);
  return { view: member, target: mustSee(member, targets.get(sequence)) };
}

/** Throws CONVERSATION_NOT_FOUND for a user who is not a member. */
export function mustBeMember(view: View | undefined): View {
  if (view === undefined) throw conversationNotFound();
  return view;
}

/** Throws MUTED. */
export function mustNotBeMuted({ mutedUntilMs }: View, nowMs: number): void {
  if (mutedUntilMs > nowMs)
    throw fail(ErrorReason.MUTED, "the caller is muted in the conversation");
}

/** Throws MESSAGE_NOT_FOUND for a message that the member may not see. */
export function mustSee({ firstSequence, deleted }: View, target: Target | undefined): Target {
  if (target === undefined || deleted || target.sequence < firstSequence)
    throw fail(ErrorReason.MESSAGE_NOT_FOUND, "no such message");
  return target;
}

/** Throws MESSAGE_RECALLED. */
export function mustNotBeRecalled({ state }: Target): void {
  if (state.recalled === undefined) return;
  throw fail(ErrorReason.MESSAGE_RECALLED, "the message was recalled");
}

/** Whether a member may pin, and recall messages of others: in a group only its owner and admins. */
export function managesMessages({ kind }: LockedConversation, { role }: View): boolean {
  return kind === ConversationKind.GROUP && role >= Role.ADMIN;
}
