import type { Clock } from "#platform/clock.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";

export const selectGroups: Statement = {
  name: "im_groups_of",
  text: `
    SELECT i.user_id, m.conversation_id
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT g.conversation_id FROM im.member g
                          WHERE g.user_id = i.user_id AND g.kind = 2 AND g.left_sequence = 0
                         OFFSET 0) m`,
};

export const selectSweep: Statement = {
  name: "im_sweep",
  text: `
    SELECT i.user_id, m.conversation_id,
           CASE WHEN m.left_sequence > 0 THEN m.left_sequence
                ELSE c.last_sequence END AS last_sequence
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT u.conversation_id, u.left_sequence, u.updated_at_ms
                           FROM im.member u WHERE u.user_id = i.user_id OFFSET 0) m
     CROSS JOIN LATERAL (SELECT k.last_sequence, k.updated_at_ms FROM im.conversation k
                          WHERE k.conversation_id = m.conversation_id OFFSET 0) c
     WHERE CASE WHEN m.left_sequence > 0 THEN m.updated_at_ms ELSE c.updated_at_ms END >= $2::bigint
       AND c.last_sequence > 0`,
};

/** A changed conversation of a user. */
export interface Change {
  readonly userId: string;
  readonly conversationId: string;
  /** Last sequence that the user may see. */
  readonly lastSequence: bigint;
}

/** Maximum users in one statement. */
const CHUNK_USERS = 2_000;

/** Reads the group ids of each user, in the order of the users. Throws UNAVAILABLE. */
export async function groupsOf(db: Database, userIds: readonly string[]): Promise<string[][]> {
  const byUser = new Map<string, string[]>();
  for (const chunk of chunks([...new Set(userIds)])) {
    const rows = await db.run<{ user_id: string; conversation_id: string }>(selectGroups, [
      bigints(chunk),
    ]);
    for (const { user_id: userId, conversation_id: groupId } of rows) {
      const groups = byUser.get(userId);
      if (groups === undefined) byUser.set(userId, [groupId]);
      else groups.push(groupId);
    }
  }
  return userIds.map((userId) => byUser.get(userId) ?? []);
}

export interface SweepDependencies {
  readonly db: Database;
  readonly clock: Clock;
  readonly changeOverlapMs: number;
}

/**
 * Reads the conversations of the users that have changed since a time. `nextSinceMs` is the start
 * of the next sweep: `changeOverlapMs` before now, because a transaction in flight may commit an
 * earlier change. Throws UNAVAILABLE.
 */
export async function changesSince(
  { db, clock, changeOverlapMs }: SweepDependencies,
  { userIds, sinceMs }: { userIds: readonly string[]; sinceMs: number },
): Promise<{ changes: Change[]; nextSinceMs: number }> {
  const nextSinceMs = Math.max(0, clock.now() - changeOverlapMs);
  const changes: Change[] = [];
  for (const chunk of chunks([...new Set(userIds)])) {
    const rows = await db.run<{
      user_id: string;
      conversation_id: string;
      last_sequence: string;
    }>(selectSweep, [bigints(chunk), String(sinceMs)]);
    for (const row of rows) {
      changes.push({
        userId: row.user_id,
        conversationId: row.conversation_id,
        lastSequence: BigInt(row.last_sequence),
      });
    }
  }
  return { changes, nextSinceMs };
}

function* chunks(userIds: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < userIds.length; from += CHUNK_USERS)
    yield userIds.slice(from, from + CHUNK_USERS);
}
