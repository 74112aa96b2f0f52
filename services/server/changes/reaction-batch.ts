import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  type SetReactionsResponse,
  SetReactionsResponseSchema,
} from "#gen/lucky/message/v1/change_pb.js";
import { fail, reasonOf } from "#platform/errors.ts";
import { bigints } from "../log/arrays.ts";
import type { PoolClient } from "../log/database.ts";
import type { WrittenEntry } from "../log/write-entry.ts";
import type { ChangeDependencies, Changed, LockedConversation } from "./change.ts";
import { writeStates } from "./message-states.ts";
import { countsAfter, type Delta, settle, type Wish } from "./reaction-counts.ts";
import {
  mustBeMember,
  mustNotBeMuted,
  mustNotBeRecalled,
  mustSee,
  readTargets,
  readViews,
  type Target,
} from "./targets.ts";

/** A call of SetReactions for one message. */
export interface ReactionCall extends Wish {
  readonly sequence: number;
}

/** Maximum deltas in one entry. */
const MAX_DELTAS = 500;

/**
 * SQL condition for the reactions of the user `i.user_id` to a message. The user is a range in the order of
 * the primary key: for an equality, when most messages have one reaction, PostgreSQL may choose an index that
 * reads all reactions of the message.
 */
const isReactionOfUser = (sequence: string) =>
  `x.conversation_id = $1::bigint AND x.sequence = ${sequence}
          AND x.user_id >= i.user_id AND x.user_id <= i.user_id`;

/** Reactions of each user of $2 to the message at the same index of $3. */
export const SELECT_OWN = `
  SELECT i.user_id, i.sequence, r.emoji
    FROM unnest($2::bigint[], $3::bigint[]) AS i(user_id, sequence)
   CROSS JOIN LATERAL (
       SELECT x.emoji FROM im.reaction x
        WHERE ${isReactionOfUser("i.sequence")} ORDER BY x.user_id, x.emoji OFFSET 0) r`;

// By ctid, so that each row is found by its key. The lock on the conversation keeps the ctids valid.
export const DELETE_OWN = `
  DELETE FROM im.reaction WHERE ctid = ANY (ARRAY(
    SELECT r.ctid FROM unnest($3::bigint[], $4::text[]) AS i(user_id, emoji)
     CROSS JOIN LATERAL (
       SELECT x.ctid FROM im.reaction x
        WHERE ${isReactionOfUser("$2::bigint")} AND x.emoji = i.emoji ORDER BY x.user_id, x.emoji OFFSET 0) r))`;

export const INSERT_OWN = `
  INSERT INTO im.reaction (conversation_id, sequence, user_id, emoji, changed_sequence)
  SELECT $1::bigint, $2::bigint, i.user_id, i.emoji, $5::bigint
    FROM unnest($3::bigint[], $4::text[]) AS i(user_id, emoji)`;

/** For each emoji of $3, the users who added it last: at most three, latest first. */
export const SELECT_RECENT = `
  SELECT i.emoji,
         ARRAY(SELECT r.user_id::text FROM im.reaction r
                WHERE r.conversation_id = $1::bigint AND r.sequence = $2::bigint AND r.emoji = i.emoji
                ORDER BY r.changed_sequence DESC, r.user_id LIMIT 3) AS user_ids
    FROM unnest($3::text[]) AS i(emoji)`;

/**
 * Applies calls to a locked conversation. Writes one entry for each message whose reactions change, or several
 * for more than MAX_DELTAS deltas. Returns a response or an error for each call, in the order of the calls. A
 * call that changes nothing gets the current counts.
 */
export async function applyReactions(
  d: ChangeDependencies,
  client: PoolClient,
  conversation: LockedConversation,
  calls: readonly ReactionCall[],
): Promise<Changed<readonly (SetReactionsResponse | Error)[]>> {
  const { conversationId } = conversation;
  const answers = new Map<ReactionCall, SetReactionsResponse | Error>();
  const allowed = await allowedCalls(d, client, conversationId, { calls, answers });
  const own = await readOwn(
    client,
    conversationId,
    allowed.map(({ call }) => call),
  );
  const written: WrittenEntry[] = [];
  const byTarget = Map.groupBy(allowed, ({ target }) => target);
  for (const [target, ofTarget] of byTarget) {
    const { state, edits, sequence } = target;
    const wishes = ofTarget.map(({ call }) => call);
    const { deltas, refused } = settle(wishes, {
      counts: new Map(state.reactions.map(({ emoji, count }) => [emoji, Number(count)])),
      own: own.get(sequence) ?? new Map(),
      maxKinds: d.config.maxReactionKinds,
    });
    for (let at = 0; at < deltas.length; at += MAX_DELTAS) {
      const part = deltas.slice(at, at + MAX_DELTAS);
      const expected = conversation.lastSequence + written.length + 1;
      written.push(await writePart(d, client, { conversationId, target, part, expected }));
    }
    if (deltas.length > 0) await writeStates(client, conversationId, [{ sequence, edits, state }]);
    const { changedSequence, reactions } = state;
    const answer = create(SetReactionsResponseSchema, { changedSequence, reactions });
    for (const call of wishes) answers.set(call, refused.has(call) ? tooMany(d) : answer);
  }
  return { answer: calls.map((call) => answers.get(call)!), written };
}

interface AllowedCall {
  readonly call: ReactionCall;
  readonly target: Target;
}

/** Returns the allowed calls with their messages. Stores the error of each other call in `answers`. */
async function allowedCalls(
  d: ChangeDependencies,
  client: PoolClient,
  conversationId: string,
  {
    calls,
    answers,
  }: {
    readonly calls: readonly ReactionCall[];
    readonly answers: Map<ReactionCall, SetReactionsResponse | Error>;
  },
): Promise<AllowedCall[]> {
  const views = await readViews(client, conversationId, calls);
  const sequences = [...new Set(calls.map(({ sequence }) => sequence))].sort((a, b) => a - b);
  const targets = await readTargets(client, conversationId, sequences);
  const nowMs = d.clock.now();
  const allowed: AllowedCall[] = [];
  for (const [at, call] of calls.entries()) {
    try {
      const view = mustBeMember(views[at]);
      mustNotBeMuted(view, nowMs);
      const target = mustSee(view, targets.get(call.sequence));
      mustNotBeRecalled(target);
      allowed.push({ call, target });
    } catch (error) {
      if (reasonOf(error) === ErrorReason.UNSPECIFIED) throw error;
      answers.set(call, error as Error);
    }
  }
  return allowed;
}

/** The current reactions of the callers, by sequence of the message and user id. */
async function readOwn(
  client: PoolClient,
  conversationId: string,
  calls: readonly ReactionCall[],
): Promise<ReadonlyMap<number, ReadonlyMap<string, ReadonlySet<string>>>> {
  // Deduplicated: a batch may contain several calls of one user for one message.
  const pairs = new Map(calls.map((call) => [`${call.sequence}:${call.userId}`, call]));
  const { rows } = await client.query<{ user_id: string; sequence: string; emoji: string }>(
    SELECT_OWN,
    [
      conversationId,
      bigints([...pairs.values()].map(({ userId }) => userId)),
      bigints([...pairs.values()].map(({ sequence }) => sequence)),
    ],
  );
  const own = new Map<number, Map<string, Set<string>>>();
  for (const { user_id, sequence, emoji } of rows) {
    const byUser = own.get(Number(sequence)) ?? new Map<string, Set<string>>();
    own.set(Number(sequence), byUser);
    byUser.set(user_id, (byUser.get(user_id) ?? new Set()).add(emoji));
  }
  return own;
}

interface Part {
  readonly conversationId: string;
  readonly target: Target;
  /** At most MAX_DELTAS. */
  readonly part: readonly Delta[];
  /** Sequence that the entry will get: the next one of the conversation. */
  readonly expected: number;
}

/** Stores the deltas of one entry, updates `target.state`, and writes the entry. */
async function writePart(
  d: ChangeDependencies,
  client: PoolClient,
  { conversationId, target: { sequence, state }, part, expected }: Part,
): Promise<WrittenEntry> {
  const columns = (deltas: readonly Delta[]) => [
    ...[conversationId, sequence],
    bigints(deltas.map(({ userId }) => userId)),
    deltas.map(({ emoji }) => emoji),
  ];
  const removed = part.filter(({ added }) => !added);
  const added = part.filter(({ added }) => added);
  if (removed.length > 0) await client.query(DELETE_OWN, columns(removed));
  // The rows need the sequence of the entry, and the entry contains users that are read from the rows. So the
  // sequence is computed before the entry is written: the lock on the conversation keeps it free.
  if (added.length > 0) await client.query(INSERT_OWN, [...columns(added), expected]);
  const { rows } = await client.query<{ emoji: string; user_ids: string[] }>(SELECT_RECENT, [
    ...[conversationId, sequence],
    [...new Set(part.map(({ emoji }) => emoji))],
  ]);
  const recent = new Map(rows.map(({ emoji, user_ids }) => [emoji, user_ids]));
  state.reactions = countsAfter(state.reactions, part, recent);
  state.changedSequence = BigInt(expected);
  const value = { targetSequence: BigInt(sequence), counts: state.reactions, deltas: [...part] };
  const written = await d.writeEntry(client, {
    conversationId,
    // An entry has one sender: the user of the first delta.
    causedBy: part[0]!.userId,
    content: { kind: { case: "reactions", value } },
  });
  if (written.sequence !== expected)
    throw new Error(`the entry has the sequence ${written.sequence} instead of ${expected}`);
  return written;
}

const tooMany = ({ config }: ChangeDependencies) =>
  fail(
    ErrorReason.REACTION_LIMIT_REACHED,
    `a message has at most ${config.maxReactionKinds} different reactions`,
  );
