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

/** A conversation of a user that changed. */
export interface Change {
  readonly userId: string;
  readonly conversationId: string;
  /** The last that the user may see. */
  readonly lastSequence: bigint;
}

/** Users in one statement. */
const CHUNK_USERS = 2_000;

/** What connect asks for its sessions: at their start, and again and again. */
export class Sweep {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #overlapMs: number;

  constructor(options: { db: Database; clock: Clock; overlapMs: number }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#overlapMs = options.overlapMs;
  }

  /** The groups of each user, in the order of the users. Throws UNAVAILABLE. */
  async groups(userIds: readonly string[]): Promise<string[][]> {
    const byUser = new Map<string, string[]>();
    for (const chunk of chunks([...new Set(userIds)])) {
      const rows = await this.#db.run<{ user_id: string; conversation_id: string }>(selectGroups, [
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

  /**
   * Which conversations of the users have entries since a time, and the time to ask from next: a
   * while before now, for what is being committed. Throws UNAVAILABLE.
   */
  async changes(
    userIds: readonly string[],
    sinceMs: number,
  ): Promise<{ changes: Change[]; nextSinceMs: number }> {
    const nextSinceMs = Math.max(0, this.#clock.now() - this.#overlapMs);
    const changes: Change[] = [];
    for (const chunk of chunks([...new Set(userIds)])) {
      const rows = await this.#db.run<{
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
}

function* chunks(userIds: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < userIds.length; from += CHUNK_USERS)
    yield userIds.slice(from, from + CHUNK_USERS);
}
